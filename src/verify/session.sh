# shellcheck shell=sh
# The session on the target: checks first, then requests until it is told to quit. Last of the
# files that make up the script; the others hold functions only. Nothing may be sent before the
# first line of the answer was seen: a shell may read its script in large blocks, and only then
# has it surely read all of it. Every answer is `key=value`; JSON stands between
# `section=journal` and `section=end`, and after `evidence=UNIT`.
set -eu
umask 077
LC_ALL=C
export LC_ALL

put() { printf '%s=%s\n' "$1" "$2"; }

# session_folder: a new folder that only root can enter; what is already there is not trusted.
session_folder() {
  mkdir -m 0700 /run/nixdeploy 2> /dev/null || true
  [ "$(stat -c '%u %a %F' /run/nixdeploy)" = "$(id -u) 700 directory" ] || return 1
  mktemp -d /run/nixdeploy/verify.XXXXXXXXXX
}

# session_link KEY PATH: where it leads; empty when nowhere.
session_link() { put "$1" "$(readlink -e -- "$2" || true)"; }

# session_pointers NEW: what the host is now.
session_pointers() {
  put boot_id "$(cat /proc/sys/kernel/random/boot_id)"
  put now "$(date +%s)"
  session_link running /run/current-system
  session_link booted /run/booted-system
  session_link profile /nix/var/nix/profiles/system
  put profile_link "$(readlink /nix/var/nix/profiles/system || true)"
  put boot_default "$(boot_default)"
  # an etc that is mounted as an overlay has no static folder
  if [ ! -e /etc/static ] && [ -e "$1/etc-metadata-image" ]; then
    put etc overlay
  else
    session_link etc /etc/static
  fi
  session_link etc_new "$1/etc"
}

# session_checks MODE NEW CURSOR DIR PLANNED NAME...
session_checks() {
  session_mode=$1 session_new=$2 session_cursor=$3 session_dir=$4 session_planned=$5
  shift 5
  if [ "$session_mode" = baseline ]; then
    # shellcheck disable=SC2046 # names hold no space
    network_checks 1 "$@" $(network_names) > "$session_dir/network" 2> /dev/null &
    sample_units
  elif [ "$session_mode" = fast ]; then
    session_pointers "$session_new"
    units_checks "$session_planned"
  else
    network_checks 2 "$@" > "$session_dir/network" 2> /dev/null &
    resources_journal "$session_cursor" > "$session_dir/journal" 2> /dev/null &
    session_pointers "$session_new"
    units_checks "$session_planned"
    resources_checks
  fi
  wait
  for session_file in network journal; do
    if [ -e "$session_dir/$session_file" ]; then cat "$session_dir/$session_file"; fi
  done
}

# session_guard DIR SCRIPT WORD...: passes a request on to a script of the transaction; its lines come as they are said.
session_guard() {
  session_dir=$1
  shift
  { session_rc=0; sh "$@" < /dev/null 2>&1 || session_rc=$?; echo "$session_rc" > "$session_dir/rc"; } |
    while IFS= read -r session_line || [ -n "$session_line" ]; do put line "$session_line"; done
  put 'done' "$(cat "$session_dir/rc" 2> /dev/null || echo 1)"
}

# session_serve TX CURSOR DIR: answers requests until `quit`, or until nobody asks any more.
session_serve() {
  session_tx=$1 session_cursor=$2 session_dir=$3
  set -f
  while IFS= read -r session_line; do
    case $session_line in *[!A-Za-z0-9._:/+=@\\\ -]*) put 'done' 2; continue ;; esac
    # shellcheck disable=SC2086 # the words are wanted, and globbing is off
    set -- $session_line
    session_verb=${1:-}
    [ $# -eq 0 ] || shift
    case $session_verb in
      guard) session_guard "$session_dir" "/run/nixdeploy/$session_tx/guard" "$@" ;;
      rehearse) session_guard "$session_dir" "/run/nixdeploy/$session_tx/rehearse" "$@" ;;
      details) units_details "$@"; put 'done' 0 ;;
      evidence) units_evidence "$session_cursor" "$@"; put 'done' 0 ;;
      quit) return 0 ;;
      *) put 'done' 2 ;;
    esac
  done
  return 1
}

# main MODE TX OLD NEW CURSOR PROBES PLANNED NAME...: MODE is baseline, fast or verify; PROBES is how
# many health checks will be sent; PLANNED are units, in one word; NAMEs may be asked of the resolver.
main() {
  put nixdeploy-verify 1
  main_mode=$1 main_tx=$2 main_new=$4 main_cursor=$5 main_probes=$6 main_planned=$7
  # the tools of what ran before: those of NEW may be what is broken
  PATH=$3/sw/bin
  export PATH
  if [ ! -x "$PATH/systemctl" ]; then PATH=/run/current-system/sw/bin; put oddity 'tools of the old system are gone'; fi
  shift 7
  main_dir=$(session_folder) || { put oddity '/run/nixdeploy is not a folder of root alone'; put end 1; return 1; }
  trap 'rm -rf -- "$main_dir"' EXIT
  trap 'exit 1' HUP INT PIPE TERM
  session_checks "$main_mode" "$main_new" "$main_cursor" "$main_dir" "$main_planned" "$@"
  probes_checks "$main_dir" "$main_probes" "$main_cursor"
  put checks 'done'
  main_rc=0
  session_serve "$main_tx" "$main_cursor" "$main_dir" || main_rc=$?
  put end "$main_rc"
}
main "$@"; exit
