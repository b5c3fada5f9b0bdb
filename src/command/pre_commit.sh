#!/bin/sh
# Checks what is staged before it is committed. Written by nixdeploy hooks install: a hook that was
# here before lies beside this one and is run first.

main() {
  before="$(dirname "$0")/pre-commit.before-nixdeploy"
  if [ -x "$before" ]; then
    "$before" "$@" || exit $?
  fi
  if ! command -v nixdeploy > /dev/null 2>&1; then
    echo "pre-commit: nixdeploy is not on PATH, nothing was checked" >&2
    exit 0
  fi
  exec nixdeploy check --staged
}
main "$@"
