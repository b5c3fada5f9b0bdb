# The ladder: what the guard tries, one rung after the other, until the old system is proven back.
# 1 OLD's switch-to-configuration; 2 the same with D-Bus started, when that was dead; 3 OLD's own
# activation, without switch-to-configuration; 4 a reboot into the boot default, if that is OLD,
# is untouched, and hosts.toml does not say "leave". Part of the guard; see guard.sh.
# shellcheck shell=sh
# shellcheck disable=SC2154 # d, old, new, v, why: of guard.sh

climb() {
  rung=1 tries=0 code=''
  while [ $tries -lt 3 ]; do
    tries=$((tries + 1))
    by_switch
    proven
    # one that hung would hang again, and one without D-Bus fails again
    case $code in 124 | 137) break ;; esac
    [ "$(running)" != "$old" ] || [ -n "$(missing)" ] || break
    bus_answers || break
  done
  if ! bus_answers; then
    step_up 2 'D-Bus is dead: starting it'
    bus_start
    by_switch
    proven
  fi
  step_up 3 "the old system's own activation"
  by_activation
  proven
  step_up 4 'a reboot into the boot default'
  by_reboot
  stranded "$why; the way back failed"
}

step_up() { # RUNG WORDS: nobody who mended the host by hand meanwhile is fought
  ours_to_take_back
  rung=$1 tries=1
  wanting | tr '\n' ',' > "$d/wanting"
  val wanting
  tell reverting "rung $1, $2; not back: ${v%,}"
}

# proven: the last word, if nothing is wanting; or if what is wanting no rung brings back.
proven() {
  settle
  settle_network
  if [ -n "$(standing)" ]; then return 0; fi
  if [ -n "$(pointing)" ]; then
    ! theirs || finish foreign "$why; the old system runs again, and somebody else set what boots"
    stranded "$why; the old system runs"
  fi
  clean_failed
  # what a switch-to-configuration that was ended here meant to do next is none of the next one's
  [ "$rung" != 3 ] || rm -f /run/nixos/*-list
  finish reverted "$why" "rung=$rung" "tries=$tries" "revert_status=$code"
}

stranded() { # REASON
  wanting > "$d/missing"
  set -- "$1" "rung=$rung" "revert_status=$code" "stays=${stays:-}"
  while IFS= read -r line; do set -- "$@" "missing=$line"; done < "$d/missing"
  finish revert_failed "$@"
}

# wanting: what is not as it was, a line each; nothing: the host is as before.
wanting() { standing; pointing; }

# standing: what runs.
standing() {
  [ "$(running)" = "$old" ] || echo 'the running system'
  etc_is "$old" || echo /etc
  missing
  lost
}

# pointing: what boots. No rung moves these; an undo that failed has.
pointing() {
  val profile0; [ "$(pointer "$profile")" = "$v" ] || echo 'the profile'
  val boot0; [ "$(boot_default)" = "$v" ] || echo 'the boot default'
}

# theirs: of what boots, all that is not as it was is somebody else's, and nothing of it is ours.
theirs() {
  val profile0; another "$v" "$(pointer "$profile")" || return 1
  val boot0; another "$v" "$(boot_default)"
}
another() { # WAS IS
  case $2 in "$1") ;; '' | "$new" | "$old") return 1 ;; esac
}

# lost: what of the network's signature is gone; silence is no proof.
lost() {
  [ -s "$d/network0" ] || return 0
  val port
  signature "${v:-22}" | awk 'now == "" { want[$0]; next } { delete want[$0] }
    END { for (line in want) print line }' "$d/network0" now=1 -
}

# settle_network: addresses and routes may come later than the units that bring them, leases above
# all; fifteen seconds at most.
settle_network() {
  settled=0
  while [ $settled -lt 30 ] && [ -n "$(lost)" ]; do
    settled=$((settled + 1))
    nap
  done
}

# --- rungs 1 and 2 --------------------------------------------------------------

# Pre-switch checks must not refuse the way back; the exit code is noted, not trusted: lists left
# by the killed activation make it 4. Units that failed under NEW come back by being started.
by_switch() {
  val activate
  NIXOS_NO_CHECK=1 timeout -k 5 "$v" "$old/bin/switch-to-configuration" test \
    < /dev/null >> "$d/revert.log" 2>&1
  code=$?
  start_missing
}

start_missing() {
  for unit in $(missing); do
    timeout 60 systemctl start "$unit" 2>> "$d/revert.log" || :
  done
}

# systemctl as root needs no D-Bus; OLD's switch-to-configuration does.
bus_answers() {
  timeout 5 busctl --system --quiet call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId \
    < /dev/null > /dev/null 2>&1
}

bus_start() {
  timeout 60 systemctl start dbus.socket dbus.service < /dev/null >> "$d/revert.log" 2>&1 || :
}

# --- rung 3 -----------------------------------------------------------------------

# What switch-to-configuration would do, without it: units that only NEW has, or that are another
# in it, are stopped as they are loaded now; /etc and the running system are OLD's; then they are
# started as OLD has them. Under its lock: who has that is changing the host.
by_activation() {
  exec 4>> /run/nixos/switch-to-configuration.lock
  flock -w 60 4 || finish foreign "$why; another switch-to-configuration is at work"
  active_units | turned > "$d/turned"
  systemctl_on stop 'stop|cycle'
  val activate
  NIXOS_ACTION="test" timeout -k 5 "$v" "$old/activate" < /dev/null >> "$d/revert.log" 2>&1 4>&-
  code=$?
  timeout 60 systemctl daemon-reload < /dev/null >> "$d/revert.log" 2>&1 || :
  bus_start
  systemctl_on restart restart
  systemctl_on start cycle
  start_missing
  [ -z "$(lost)" ] || network_again
  exec 4>&-
}

# network_again: there is nothing to lose. A link that was taken down by hand is none of any
# unit's business, but those that make the network put all of it up when they start.
network_again() {
  # shellcheck disable=SC2046 # unit names are words
  set -- $(grep -E '^(network-(addresses|link|setup|local)|systemd-networkd|NetworkManager|dhcpcd|wpa_supplicant)' \
    "$d/baseline")
  [ $# -gt 0 ] || return 0
  timeout 120 systemctl restart "$@" < /dev/null >> "$d/revert.log" 2>&1 || :
}

active_units() {
  timeout 30 systemctl list-units --state=active,activating --plain --no-legend --full \
    --type=service,socket,timer,path < /dev/null 2> /dev/null
}

# systemctl_on VERB FATES: over all units of these fates at once.
systemctl_on() {
  # shellcheck disable=SC2046 # unit names are words
  set -- "$1" $(awk -v fates="^($2)\$" '$1 ~ fates { print $2 }' "$d/turned")
  [ $# -gt 1 ] || return 0
  timeout 120 systemctl "$@" < /dev/null >> "$d/revert.log" 2>&1 || :
}

# turned: of the units on standard input those that OLD wants otherwise, each behind its fate:
# stop, cycle (stop now, start later) or restart. The rules are switch-to-configuration's.
turned() {
  while read -r unit _; do
    case $unit in nixdeploy-*) continue ;; *@*.*) file=${unit%%@*}@.${unit##*.} ;; *) file=$unit ;; esac
    was=$new/etc/systemd/system/$file is=$old/etc/systemd/system/$file
    if [ ! -e "$is" ]; then
      if [ -e "$was" ]; then echo "stop $unit"; fi
    elif [ "$unit" = "${unit%.socket}" ] && [ "$(unit_text "$was")" != "$(unit_text "$is")" ]; then
      fate "$unit" "$is"
    fi
  done
}

unit_text() { cat "$1" "$1".d/*.conf 2> /dev/null; }

fate() { # UNIT FILE
  case $(unit_text "$2") in
    *X-RestartIfChanged=false* | *X-OnlyManualStart=true* | *RefuseManualStop=true*) ;;
    *X-StopIfChanged=false*) echo "restart $1" ;;
    *) echo "cycle $1" ;;
  esac
}

# --- rung 4 -----------------------------------------------------------------------

# The boot default has to be what ran, and untouched; a host that hosts.toml wants left alone, or
# that has somebody at its screen, waits for a person. It is on disk what was missing before the
# host goes down, so that who waits is told.
by_reboot() {
  rung=3 # until the host is told to go down
  val on_failure
  if [ "$v" != reboot ]; then stays='it is to be left for a person'; return 0; fi
  val boot0
  if [ "$v" != "$old" ] || [ "$(boot_default)" != "$v" ]; then
    stays='its boot default is not what ran'
    return 0
  fi
  {
    printf 'rebooting=1\nrung=4\nrevert_status=%s\n' "${code:-}"
    wanting | sed 's/^/missing=/'
  } > "$d/.rebooting.$$"
  mv -f "$d/.rebooting.$$" "$d/rebooting"
  phase rebooting "$why"
  heard
  go_down
  rm -f "$d/rebooting"
  rung=4 stays='systemd did not bring it down'
}

# heard: whoever follows is told before the network goes; five seconds at most.
heard() {
  wake
  heard_s=0
  while [ $heard_s -lt 10 ] && followed; do
    heard_s=$((heard_s + 1))
    nap
  done
}
followed() { for ear in "$d"/ear.*; do [ ! -p "$ear" ] || return 0; done; return 1; }

# go_down: returns only if nothing came of it. What stops this guard is the shutdown itself.
go_down() {
  timeout 60 sync
  # The last of them needs no PID 1, which may hang as well.
  for force in '' --force '--force --force'; do
    # shellcheck disable=SC2086 # none, one word, or two
    timeout 60 systemctl --no-wall --no-block $force reboot < /dev/null >> "$d/revert.log" 2>&1 || continue
    waited=0
    while [ $waited -lt 600 ]; do
      waited=$((waited + 1))
      nap
    done
  done
}
