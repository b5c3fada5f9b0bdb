# What a system in this host's store says of itself, where a reboot or a boot loader would care:
# for closures that were built here or are kept here, and so cannot be read by the deployer.
# Argument: the toplevel. Reads only; key=value lines, then end=RC.
# shellcheck shell=sh
set -u

say() { printf '%s=%s\n' "$1" "$2"; }

# part KEY FILE: where it really is, and its bytes.
part() {
  path=$(readlink -m -- "$2" 2> /dev/null)
  say "$1" "$path"
  say "$1_size" "$(stat -c %s -- "$path" 2> /dev/null)"
}

main() {
  CDPATH='' cd -P -- /run/current-system || exit 3
  PATH=$PWD/sw/bin LC_ALL=C
  export PATH LC_ALL
  cd /
  top=$1
  echo nixdeploy-toplevel=1
  [ -e "$top/nixos-version" ] || { echo end=1; return; }
  part kernel "$top/kernel"
  part initrd "$top/initrd"
  say modules "$(readlink -m -- "$top/kernel-modules")"
  say params "$(cat "$top/kernel-params" 2> /dev/null)"
  say init "$(cat "$top/init-interface-version" 2> /dev/null)"
  if [ -e "$top/switch-inhibitors" ]; then
    say inhibitors "$(tr '\n' '\t' < "$top/switch-inhibitors" | head -c 65536)"
  fi
  echo end=0
}

main "$@"
