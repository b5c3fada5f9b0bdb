# Whether the unit of transaction $1's guard runs, though its script was not found: somebody removed
# its folder, which it makes again once it has decided. Reads only; prints at_work=1 or nothing.
# shellcheck shell=sh

at_work_main() {
  CDPATH='' cd -P -- /run/current-system || exit 3
  PATH=$PWD/sw/bin LC_ALL=C
  export PATH LC_ALL
  unit_show=$(timeout 10 systemctl show -p Description -p ActiveState nixdeploy-guard.service)
  case $unit_show in *"Description=nixdeploy $1"*) ;; *) exit 0 ;; esac
  # One that waits to be started again cannot be: its script is what is missing.
  case $unit_show in *ActiveState=active* | *ActiveState=deactivating*) echo at_work=1 ;; esac
}

at_work_main "$@" < /dev/null
