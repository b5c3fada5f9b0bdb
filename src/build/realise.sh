#!/bin/sh
# realise.sh PATH DRV ROOT [NIX OPTION...]: builds DRV here and keeps its output from the garbage
# collector under ROOT; an empty ROOT keeps nothing. Nix's own words go to standard error as
# internal-json; the answer is two or three lines on standard output. Changes the store and ROOT,
# nothing else.
set -eu

main() {
  PATH=$1
  export PATH
  drv=$2
  root=$3
  shift 3
  rc=0
  echo nixdeploy-realise=1
  out=
  if [ -n "$root" ]; then
    mkdir -p "${root%/*}" || rc=$?
    if [ "$rc" = 0 ]; then
      nix-store --log-format internal-json --realise "$drv" --add-root "$root" "$@" > /dev/null || rc=$?
    fi
    [ "$rc" != 0 ] || out=$(readlink "$root") || rc=$?
  else
    out=$(nix-store --log-format internal-json --realise "$drv" "$@") || rc=$?
  fi
  [ "$rc" != 0 ] || printf 'out=%s\n' "$out" || rc=$?
  printf 'end=%s\n' "$rc"
}

main "$@"
