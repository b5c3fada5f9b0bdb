# shellcheck shell=sh
# Restarts of the services that live: run right after the activation and again in the checks, so
# that a crash loop shows by what was added in between. A unit in auto-restart is "active" or
# "activating" whenever one looks, and never "failed". Needs PATH; reads only.

# living: of a list of units, services with a process, or about to have one again; oneshots that are
# done and inactive units have no restarts to count, and each unit asked for costs systemd 1.5 ms.
living() {
  awk '$1 ~ /\.service$/ && $3 != "inactive" && !($3 == "active" && $4 == "exited") { print $1 }'
}
living_services() {
  systemctl list-units --all --full --plain --no-legend --no-pager --type=service < /dev/null | living
}

# sample_units: `restarts=UNIT N` for each service that was restarted by systemd at all.
sample_units() {
  set -f
  # shellcheck disable=SC2046 # unit names hold no space, and globbing is off
  set -- $(systemctl list-units --all --full --plain --no-legend --no-pager --type=service \
    < /dev/null | living)
  set +f
  [ $# -gt 0 ] || return 0
  systemctl show --no-pager -p Id,NRestarts -- "$@" < /dev/null | awk '
    { at = index($0, "="); name = substr($0, 1, at - 1); value[name] = substr($0, at + 1) }
    /^$/ { out() }
    END { out() }
    function out() {
      if (value["Id"] != "" && value["NRestarts"] + 0 > 0)
        print "restarts=" value["Id"] " " value["NRestarts"]
      value["Id"] = ""; value["NRestarts"] = ""
    }'
}
