# shellcheck shell=sh
# The units of the host: state of all, and details of the services that live. Needs PATH, and
# sample.sh before it; reads only.

# units_details UNIT...: one line each, `unit=` and, separated by spaces: name, load, active, sub,
# type, result, restarts, code and status of the main process, time of the last change in seconds
# since the epoch, memory now and at most in bytes, flags, when it last began to run and how many
# microseconds that start took. What is not set is a dash.
# Flags: r RemainAfterExit, t triggered by another unit, w wanted or required by another unit,
# c the condition for its start was not met, e from /etc, that is of the configuration.
units_details() {
  [ $# -gt 0 ] || return 0
  systemctl show --no-pager --timestamp=unix -p Id,Type,LoadState,ActiveState,SubState,Result \
    -p NRestarts,ExecMainCode,ExecMainStatus,StateChangeTimestamp,MemoryCurrent,MemoryMax \
    -p RemainAfterExit,TriggeredBy,WantedBy,RequiredBy,ConditionResult,FragmentPath \
    -p ActiveEnterTimestamp,ActiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic \
    -- "$@" < /dev/null | awk '
    { at = index($0, "="); if (at) value[substr($0, 1, at - 1)] = substr($0, at + 1) }
    /^$/ { out() }
    END { out() }
    function word(name, text) { text = value[name]; return text ~ /^[^ ]+$/ ? text : "-" }
    function flags(all) {
      if (value["RemainAfterExit"] == "yes") all = all "r"
      if (value["TriggeredBy"] != "") all = all "t"
      if (value["WantedBy"] value["RequiredBy"] != "") all = all "w"
      if (value["ConditionResult"] == "no") all = all "c"
      if (value["FragmentPath"] ~ /^\/etc\/(static\/)?systemd\/system\//) all = all "e"
      return all == "" ? "-" : all
    }
    function start(from, to) {
      from = value["InactiveExitTimestampMonotonic"] + 0
      to = value["ActiveEnterTimestampMonotonic"] + 0
      return from > 0 && to >= from ? to - from : "-"
    }
    function out(name) {
      if (value["Id"] != "")
        print "unit=" value["Id"], word("LoadState"), word("ActiveState"), word("SubState"),
          word("Type"), word("Result"), word("NRestarts"), word("ExecMainCode"),
          word("ExecMainStatus"), word("StateChangeTimestamp"), word("MemoryCurrent"),
          word("MemoryMax"), flags(), word("ActiveEnterTimestamp"), start()
      for (name in value) delete value[name]
    }'
}

# units_checks PLANNED: `state=UNIT load active sub` for each unit that is not simply inactive, and
# details of the services that live and of the units that were to be touched, whatever they are.
# `listed=units` says that there was a list: without it nothing is known of any unit.
units_checks() {
  units_planned=$1
  if units_list=$(systemctl list-units --all --full --plain --no-legend --no-pager \
    --type=service,socket,timer,mount,automount,path,swap,target < /dev/null); then put listed units; fi
  printf '%s\n' "$units_list" | awk 'NF > 3 && $3 != "inactive" { print "state=" $1, $2, $3, $4 }'
  set -f
  # shellcheck disable=SC2046,SC2086 # unit names hold no space, and globbing is off
  set -- $({ printf '%s\n' "$units_list" | living; printf '%s\n' $units_planned; } | sort -u)
  set +f
  units_details "$@"
}

# units_evidence CURSOR UNIT...: `evidence=UNIT` and the last fifty journal entries of each as JSON.
units_evidence() {
  # behind a cursor journalctl's -n counts from there, and the end is what says why
  units_from=${1:+--after-cursor=$1}
  shift
  for units_name in "$@"; do
    put evidence "$units_name"
    timeout 20 journalctl --no-pager -o json --all --output-fields=MESSAGE -u "$units_name" \
      "${units_from:--n50}" < /dev/null 2> /dev/null | tail -n 50 | head -c 262144
    echo
  done
}
