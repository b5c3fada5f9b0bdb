#!/bin/sh
# calm.sh PATH OLD NEW: what differs between two systems of this host besides their programs:
# `etc=NAME` for each file of /etc that one has and the other has not, or has otherwise, and
# `activate=1` where their activation scripts use other store paths. Reads only.
set -eu

# etc TOPLEVEL: a line for each file, that is the same for the same file. Links lead to the store,
# where another text is another path.
etc() {
  (
    cd "$1/etc/"
    find . -type l -printf '%P %l\n'
    find . -type f -exec cksum {} + | sed 's|^\([0-9]*\) \([0-9]*\) \./\(.*\)$|\3 \1 \2|'
  )
}

# used TOPLEVEL: the store paths that its activation uses; its own and that of its /etc are others
# in every system.
used() {
  if [ -f "$1/activate" ]; then
    grep -o '/nix/store/[0-9a-z]*-[A-Za-z0-9+._?=-]*' "$1/activate" |
      grep -v -e '-etc$' -e '-nixos-system-' | sort -u
  fi
}

main() {
  PATH=$1 LC_ALL=C
  export PATH LC_ALL
  old=$2 new=$3
  echo nixdeploy-calm=1
  before=$(etc "$old")
  after=$(etc "$new")
  printf '%s\n%s\n' "$before" "$after" | sort | uniq -u | sed 's/^\([^ ]*\).*$/etc=\1/' | sort -u |
    head -n 4096
  before=$(used "$old") || :
  after=$(used "$new") || :
  [ "$before" = "$after" ] || echo activate=1
  echo end=0
}

main "$@"
