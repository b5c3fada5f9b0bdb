# Which of the store paths on standard input this host has not. It says "ready" before it reads:
# a shell may read ahead of its script, so the paths are sent only then.
# shellcheck shell=sh
set -u

main() {
  CDPATH='' cd -P -- /run/current-system || exit 3
  PATH=$PWD/sw/bin LC_ALL=C
  export PATH LC_ALL
  cd /
  echo nixdeploy-missing=1
  echo ready=1
  xargs -r nix-store --check-validity --print-invalid | awk '{ print "missing=" $0 }'
  echo end=0
}

main "$@"
