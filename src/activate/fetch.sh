#!/bin/sh
# fetch.sh PATH TOPLEVEL [NIX OPTION...]: lets this host fetch TOPLEVEL from the substituters that
# it has and those that the options name. Nix's own words go to standard error; the answer is one
# line. Changes the store, nothing else.
set -eu

main() {
  PATH=$1
  export PATH
  top=$2
  shift 2
  rc=0
  nix-store --realise "$top" "$@" > /dev/null || rc=$?
  printf 'end=%s\n' "$rc"
}

main "$@"
