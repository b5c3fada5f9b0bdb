# hold: takes the host's lock and leaves the guard there, waiting for go; changes nothing else.
# Sent behind the functions write_guard FILE and write_rehearse FILE, which carry those scripts.
# Arguments: TX OLD NEW PROFILE0 LINK0 BOOT0 LEASE_S ACTIVATE_S OBSERVE_S COMMIT_S OWNER
# ON_FAILURE (reboot or leave, when the way back fails; ask: a line behind the script says which, and
# until it is there nothing is done) BOOT_ID; an empty pointer is "-". Answers: key=value lines,
# held=TX or locked=TX or changed=WHAT, then end=RC.
# shellcheck shell=sh
set -u
umask 077
base=/run/nixdeploy
roots=/nix/var/nix/gcroots/nixdeploy

answer() { printf '%s=%s\n' "$1" "$2"; }
or_empty() { [ "$1" = - ] || printf '%s' "$1"; }
put() { printf '%s\n' "$2" > "$d/$1"; }

private_base() { # a folder of root's that nobody else can enter; anything else is refused
  [ ! -L "$base" ] || return 1
  mkdir -m 700 "$base" 2> /dev/null || :
  [ "$(stat -c '%u %a %F' "$base")" = '0 700 directory' ]
}

# Units that were active and that some target of OLD wants: they must be back after a revert. A list
# that could not be had, or not be written whole, would prove too little: then nothing is held.
baseline() {
  find "$old/etc/systemd/system/" -mindepth 2 -maxdepth 2 \( -path '*.wants/*' -o -path '*.requires/*' \) \
    -printf '%f\n' | sort -u > "$d/wanted" || return 1
  timeout 30 systemctl list-units --state=active --plain --no-legend --full \
    --type=service,socket,timer,path,mount < /dev/null > "$d/units" || return 1
  awk '{ print $1 }' "$d/units" | sort -u > "$d/active" || return 1
  comm -12 "$d/wanted" "$d/active" > "$d/baseline" || return 1
  timeout 30 systemctl list-units --failed --plain --no-legend --full < /dev/null > "$d/units" || return 1
  awk '{ print $1 }' "$d/units" > "$d/failed0" || return 1
  # ssh(1): its last word is the port that was reached; sudo takes the variable away
  port=${SSH_CONNECTION:-22} port=${port##* }
  case $port in '' | *[!0-9]*) port=22 ;; esac
  put port "$port" && links | sort -u > "$d/links" && signature "$port" | sort -u > "$d/network0"
}

unchanged() { # what the preflight saw still holds; another boot is another machine, or a reboot
  IFS= read -r boot_id < /proc/sys/kernel/random/boot_id
  [ "$boot_id" = "$boot_id0" ] || { answer changed boot; return 1; }
  [ "$(readlink -e /run/current-system)" = "$old" ] || { answer changed running; return 1; }
  [ "$(readlink -e /nix/var/nix/profiles/system)" = "$profile0" ] || { answer changed profile; return 1; }
  [ "$(boot_default)" = "$boot0" ] || { answer changed boot-default; return 1; }
}

# Everything that is not ours is over: whoever had it lost the lock, or the host went down.
sweep() {
  for stale in "$base"/*; do
    case ${stale##*/} in
      "$tx" | current) ;;
      verify.*) find "$stale" -maxdepth 0 -mmin +60 -exec rm -rf {} + ;; # somebody else may be looking
      *) rm -rf "$stale" ;;
    esac
  done
  rm -f /nix/var/nix/nixdeploy-reserve
  for stale in "$roots"/*; do
    case ${stale##*/} in "$tx"-*) ;; *) rm -f "$stale" ;; esac
  done
}

rooted() { mkdir -p "$roots" && ln -s "$new" "$roots/$tx-new" && ln -s "$old" "$roots/$tx-old"; }

take() {
  if "$old/sw/bin/sh" "$d/guard" start > /dev/null; then
    ln -sfn "$tx" "$base/current"
    sweep
    answer held "$tx"
    return 0
  fi
  answer locked "$(readlink "$base/current" 2> /dev/null)"
  for key in owner phase; do
    IFS= read -r v < "$base/current/$key" 2> /dev/null && answer "$key" "$v"
  done
  since=$(stat -c %Y "$base/current/owner" 2> /dev/null) && answer age_s $(($(date +%s) - since))
  answer cause "$(head -n 1 "$d/unit.log")"
  wait
  rm -rf "$d" "$roots/$tx-new" "$roots/$tx-old"
  return 1
}

hold() {
  tx=$1 old=$2 new=$3 d=$base/$1
  PATH=$old/sw/bin
  export PATH
  profile0=$(or_empty "$4") boot0=$(or_empty "$6") boot_id0=${13}
  private_base || { answer error "$base is not root's own folder"; answer end 3; return; }
  unchanged || { answer end 2; return; }
  mkdir -m 700 "$d" || { answer error "$d is there already"; answer end 3; return; }
  write_guard "$d/guard"
  write_rehearse "$d/rehearse"
  put old "$old"; put new "$new"; put profile0 "$profile0"; put link0 "$(or_empty "$5")"
  put boot0 "$boot0"; put lease_s "$7"; put activate "$8"; put observe "$9"; put commit "${10}"
  put owner "${11}"; put on_failure "$on_failure"
  IFS='. ' read -r uptime_s _ < /proc/uptime
  put lease $((uptime_s + $7))
  if ! dd if=/dev/zero of="$d/reserve" bs=65536 count=4 2> /dev/null; then
    answer error '/run is full'
    rm -rf "$d"
    answer end 3
    return
  fi
  if ! rooted; then
    answer error "no roots can be made in $roots: the way back could be collected as garbage"
    rm -rf "$d"
    rm -f "$roots/$tx-new"
    answer end 3
    return
  fi
  baseline & # beside the start of the guard, which wants it only when it goes back
  listing=$!
  if ! take; then
    answer end 1
  elif wait "$listing"; then
    answer end 0
  else
    answer error 'systemctl does not answer, or /run is full'
    put req.abort 1
    answer end 3
  fi
}

main() {
  answer nixdeploy-hold 1
  on_failure=${12}
  # A deployer that is gone, or does not need the host after all, says nothing.
  if [ "$on_failure" = ask ]; then IFS= read -r on_failure || return 0; fi
  case $on_failure in reboot | leave) hold "$@" < /dev/null ;; esac
}

main "$@"; exit
