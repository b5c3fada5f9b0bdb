# After a trial boot: $1 is the PATH to use. What the trial put beside the boot default is taken
# away, and unless $2 is "files" the dead-man is stopped. Sent behind bootloader.sh and trial.sh.
# shellcheck shell=sh

trial_clear_main() {
  PATH=$1
  export PATH
  [ "${2:-}" = files ] || timeout 30 systemctl stop nixdeploy-trial.timer 2> /dev/null
  trial_clear
  echo end=0
}

trial_clear_main "$@" < /dev/null
