#!/bin/sh
# realise.sh PATH DRV ROOT [NIX OPTION...]: builds DRV here and keeps its output from the garbage
# collector under ROOT. Nix's own words go to standard error as internal-json; the answer is two
# or three lines on standard output. Changes the store and ROOT, nothing else.
set -eu

main() {
  PATH=$1
  export PATH
  drv=$2
  root=$3
  shift 3
  rc=0
  echo nixdeploy-realise=1
  mkdir -p "${root%/*}" || rc=$?
  if [ "$rc" = 0 ]; then
    nix-store --log-format internal-json --realise "$drv" --add-root "$root" "$@" > /dev/null || rc=$?
  fi
  if [ "$rc" = 0 ]; then
    printf 'out=%s\n' "$(readlink "$root")" || rc=$?
  fi
  printf 'end=%s\n' "$rc"
}

main "$@"
