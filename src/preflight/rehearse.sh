# What the new system says of itself before it is let loose: its own check, and which units it
# would touch. Run as root with $1 the toplevel on this host and $2 the seconds each may take.
# shellcheck shell=sh
set -u

# try ACTION: its output as ACTION=LINE, its status as ACTION_rc; 124 is "took too long".
try() {
  output=$(timeout -k 5 "$seconds" "$new/bin/switch-to-configuration" "$1" 2>&1 < /dev/null)
  rc=$?
  printf '%s\n' "$output" | head -c 262144 | awk -v key="$1" '{ print key "=" $0 }'
  printf '%s_rc=%s\n' "$1" "$rc"
  [ "$rc" = 0 ]
}

# checks_always: its own check comes before every action, so one that is passed was checked
# (nixpkgs, switch-to-configuration-ng: the wrapper sets PRE_SWITCH_CHECK). Older ones have none.
checks_always() { grep -qa PRE_SWITCH_CHECK "$new/bin/switch-to-configuration"; }

# no_way_back: units that are new or another than now, and declare that what they do cannot be
# taken back, each with its words.
no_way_back() {
  grep -ls '^X-NixdeployIrreversible=' "$new"/etc/systemd/system/*.service | while IFS= read -r file; do
    if cmp -s "$file" "$running/etc/systemd/system/${file##*/}"; then continue; fi
    awk -v unit="${file##*/}" '/^X-NixdeployIrreversible=/ { why = substr($0, index($0, "=") + 1) }
      END { print "irreversible=" unit ": " why }' "$file"
  done
}

# listed: the paths of its closure, for the guard to look through before it goes; where this lies
# beside one.
listed() {
  case $0 in /run/nixdeploy/*/rehearse) ;; *) return 0 ;; esac
  timeout 120 nix-store -qR "$new" > "${0%/*}/.closure.$$" && mv -f "${0%/*}/.closure.$$" "${0%/*}/closure"
}

# wishes: who wants which unit in the new system, and did not in the one that runs. They are
# started with the targets that want them, and dry-activate does not name them.
wishes() {
  for link in "$new"/etc/systemd/system/*.wants/* "$new"/etc/systemd/system/*.requires/*; do
    unit=${link##*/} folder=${link%/*} folder=${folder##*/}
    [ -L "$link" ] || continue
    [ -L "$running/etc/systemd/system/$folder/$unit" ] || echo "wish=${folder%.*} $unit"
  done
}

main() {
  new=${1:-} seconds=${2:-60}
  CDPATH='' cd -P -- /run/current-system || exit 3
  running=$PWD PATH=$PWD/sw/bin LC_ALL=C
  export PATH LC_ALL
  unset NIXOS_NO_CHECK NIXOS_INSTALL_BOOTLOADER
  cd /
  case $new in
    /nix/store/*/*) echo 'refused=no toplevel'; return 0 ;;
    /nix/store/*) ;;
    *) echo 'refused=no toplevel'; return 0 ;;
  esac
  echo nixdeploy-rehearsal=1
  listed > /dev/null 2>&1 < /dev/null &
  if [ ! -x "$new/bin/switch-to-configuration" ]; then
    echo refused=no switch-to-configuration
  elif checks_always; then
    if try dry-activate; then echo check_rc=0; else try check; fi
  elif try check || printf '%s\n' "$output" | grep -qi usage:; then
    try dry-activate
  fi
  no_way_back
  wishes
  wait
  echo end=0
}

main "$@"
