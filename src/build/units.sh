#!/bin/sh
# units.sh PATH TOPLEVEL...: the unit files of systems that are here, and the texts of those that
# are asked for. It says "ready" before it reads: a shell may read ahead of its script, so names
# are sent only then, one `SIDE NAME` a line, SIDE being which TOPLEVEL, from 1 on. Texts come
# behind a bar, each at most 64 KiB, and only from the store. Reads only.
set -eu

# list SIDE TOPLEVEL: `file=SIDE NAME TARGET` for each file and each link, those in folders below
# the units too: overrides, and what a target wants.
list() {
  if [ ! -d "$2/etc/systemd/system/" ]; then
    echo "absent=$1"
    return 0
  fi
  find "$2/etc/systemd/system/" -maxdepth 2 '(' -type l -o -type f ')' -printf "file=$1 %P %l\n" |
    head -n 8192
}

# text FILE: its lines behind a bar.
text() {
  real=$(readlink -e -- "$1") || return 0
  case $real in
    /nix/store/*) if [ -f "$real" ]; then head -c 65536 -- "$real" | sed 's/^/|/'; echo; fi ;;
  esac
}

main() {
  PATH=$1 LC_ALL=C
  export PATH LC_ALL
  shift
  echo nixdeploy-units=1
  side=0
  for top in "$@"; do
    side=$((side + 1))
    list "$side" "$top"
  done
  echo ready=1
  while read -r side name; do
    case $side-$name in
      *..* | *-/* | *[!A-Za-z0-9:_.@\\/-]*) continue ;;
      1-*) top=$1 ;;
      2-*) top=${2:-} ;;
      *) continue ;;
    esac
    printf 'text=%s %s\n' "$side" "$name"
    text "$top/etc/systemd/system/$name"
  done
  echo end=0
}

main "$@"
