#!/bin/sh
# closure.sh PATH TOPLEVEL: every store path of a closure with its size, one line each. One round
# trip however large the closure is: never ask a remote store path by path. Reads only.
set -eu

main() {
  PATH=$1
  export PATH
  rc=0
  echo nixdeploy-closure=1
  list=$(nix --extra-experimental-features 'nix-command flakes' path-info --recursive --size "$2") || rc=$?
  if [ "$rc" = 0 ]; then
    printf '%s\n' "$list" | sed 's/^/path=/' || rc=$?
  fi
  printf 'end=%s\n' "$rc"
}

main "$@"
