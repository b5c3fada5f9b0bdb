#!/bin/sh
# collect.sh PATH BYTES: deletes at least BYTES of the store that no root keeps, then stops. Every
# generation is a root, so none that one could go back to is touched. Answers what Nix said and
# what is free then; an empty PATH is ours.
set -u

main() {
  if [ -n "$1" ]; then
    PATH=$1
    export PATH
  fi
  echo nixdeploy-collect=1
  nix-store --gc --max-freed "$2" 2>&1 < /dev/null | grep -a ' store paths\{0,1\} deleted' | sed 's/^/said=/'
  df -P -k /nix/store | awk 'NR == 2 { print "free_kib=" $(NF - 2) }'
  echo end=0
}

main "$@"
