# The guard: the state machine on the target, and the only thing there that changes state.
#
# It lives as /run/nixdeploy/TX/guard and runs as the transient unit nixdeploy-guard, whose name
# is the lock of the host. The deployer only drops requests beside it and reads what it writes.
# Every step is on disk before it is done, so a guard that is killed goes on where it stopped
# (Restart=on-failure), and one that is stopped by hand goes back at once (ExecStopPost).
# Deadlines are seconds of /proc/uptime: neither a wall clock nor a daemon-reload moves them.
# Runs with PATH=OLD/sw/bin alone; paths of NEW are used for nothing but its activation.
#
# Files beside it: owner old new profile0 link0 boot0 (what was); lease_s activate observe commit
# (budgets in seconds); baseline failed0 (units); lease deadline phase started act observing
# decision reason step made boot_begun links0 committed outcome trace (what happened); bell (a pipe
# that wakes it); req.go req.stage req.external req.abort req.commit (requests); mending (a commit
# that was cut off is set right); external (armed or undone: the profile and the boot default are
# moved by another engine). The way back is ladder.sh.
# shellcheck shell=sh
set -u
umask 077
d=${0%/*}
tx=${d##*/}
roots=/nix/var/nix/gcroots/nixdeploy
profile=/nix/var/nix/profiles/system
reserve=/nix/var/nix/nixdeploy-reserve
act_unit=nixdeploy-act-$tx.service
commit_unit=nixdeploy-commit-$tx.service
IFS= read -r old < "$d/old"
PATH=$old/sw/bin
export PATH
unset NIXOS_NO_CHECK NIXOS_INSTALL_BOOTLOADER LD_PRELOAD LD_LIBRARY_PATH

now() { IFS='. ' read -r uptime_s _ < /proc/uptime; }
# val KEY: its value in $v; empty when there is none.
val() { v=; [ ! -r "$d/$1" ] || IFS= read -r v < "$d/$1" || :; }
# put KEY VALUE: whole or not at all. What stands in its way is made good once: a full /run by the
# reserve, a folder that somebody removed from what this process knows.
put() {
  ! put_once "$1" "$2" || return 0
  rm -f "$d/reserve"
  [ -d "$d" ] || restore
  put_once "$1" "$2"
}
put_once() { { printf '%s\n' "$2" > "$d/.$1.$$" && mv -f "$d/.$1.$$" "$d/$1"; } 2> /dev/null; }
decision() { readlink "$d/decision" 2> /dev/null; }
pointer() { readlink -e "$1" 2> /dev/null || :; }
running() { pointer /run/current-system; }
# etc_is TOPLEVEL: whether /etc is that system's; one mounted as an overlay has no static folder.
etc_is() {
  if [ ! -e /etc/static ] && [ -e "$1/etc-metadata-image" ]; then return 0; fi
  [ "$(pointer /etc/static)" = "$(pointer "$1/etc")" ]
}
# A byte in the guard's pipe wakes it, and waits there if it is busy; so do those of who follows.
wake() {
  for bell in "$d/bell" "$d"/ear.*; do [ ! -p "$bell" ] || printf x 1<> "$bell"; done
}
# Whether this is for the next boot only: what was told to go is never that.
staging() { [ -e "$d/req.stage" ] && [ ! -e "$d/deadline" ]; }
stopping() { [ "$(timeout 5 systemctl is-system-running 2> /dev/null)" = stopping ]; }

tell() { # PHASE TEXT: to the trace, and to the journal with fields
  now
  printf '%s %s %s\n' "$uptime_s" "$1" "$2" >> "$d/trace"
  printf 'SYSLOG_IDENTIFIER=nixdeploy\nPRIORITY=5\nMESSAGE=%s: %s %s\nNIXDEPLOY_TX=%s\nNIXDEPLOY_PHASE=%s\nNIXDEPLOY_OWNER=%s\nNIXDEPLOY_OLD=%s\nNIXDEPLOY_NEW=%s\n' \
    "$tx" "$1" "$2" "$tx" "$1" "$owner" "$old" "$new" | timeout 5 logger --journald 2> /dev/null || :
}
phase() { put phase "$1"; tell "$1" "${2:-}"; }

# keep: what a folder that is removed is made again from; restore: makes it.
keep() {
  kept='' decided='' activating='' line_end=$(printf '\n.')
  line_end=${line_end%.}
  for key in owner old new profile0 link0 boot0 activate observe commit on_failure port external mending made; do
    val "$key"
    [ -z "$v" ] || kept=$kept$key=$v$line_end
  done
  [ -z "$v" ] || kept_commit
  [ ! -e "$d/started" ] || activating=1
  # While it is held the units are still being listed.
  kept_units=$(cat "$d/baseline" 2> /dev/null) kept_failed=$(cat "$d/failed0" 2> /dev/null)
  kept_links=$(cat "$d/links" 2> /dev/null) kept_network=$(cat "$d/network0" 2> /dev/null)
  [ ! -r "$d/guard" ] || exec 5< "$d/guard"
}
kept_commit() {
  kept=${kept}made=$v${line_end}boot_begun=1$line_end
  [ ! -e "$d/links0" ] || kept_links0=$(cat "$d/links0")
}
restore() {
  [ -n "${kept:-}" ] || return
  mkdir -p "$d" && cat <&5 > "$d/guard" || return
  exec 5< "$d/guard"
  again baseline "$kept_units"
  again failed0 "$kept_failed"
  again links "$kept_links"
  again network0 "$kept_network"
  [ -z "${kept_links0+set}" ] || put_once links0 "$kept_links0"
  printf '%s' "$kept" | while IFS='=' read -r key was; do put_once "$key" "$was"; done
  if [ "$done_word" = staged ]; then put_once req.stage 1; else put_once started 0; put_once deadline 0; fi
  ln -sfn "$tx" "${d%/*}/current"
  [ -z "$decided" ] || ln -s "$decided" "$d/decision"
  if mkfifo "$d/bell"; then exec 3<> "$d/bell"; fi
}
again() { if [ -n "$2" ]; then put_once "$1" "$2"; else : > "$d/$1"; fi; }

# nap: until a request or half a second.
nap() {
  if [ -p "$d/bell" ]; then timeout 0.5 dd bs=64 count=1 <&3 > /dev/null 2>&1 || :; else sleep 0.5; fi
}

finish() { # OUTCOME REASON [KEY=VALUE...]: the last word
  finish_outcome=$1 finish_reason=$2
  shift 2
  rm -f "$d/reserve"
  {
    printf 'outcome=%s\nreason=%s\ndecision=%s\n' "$finish_outcome" "$finish_reason" "$(decision)"
    for word in "$@"; do printf '%s\n' "$word"; done
    pointers
    spoken "$finish_outcome"
  } > "$d/.outcome.$$" || put .outcome.$$ "outcome=$finish_outcome"
  # Without its last word the guard keeps the lock: the host is decided, and nobody can be told.
  until mv -f "$d/.outcome.$$" "$d/outcome"; do
    nap
    put .outcome.$$ "outcome=$finish_outcome"
  done
  wake
  phase "$finish_outcome" "$finish_reason"
  case $finish_outcome in
    expired) rm -f "$roots/$tx-new" "$roots/$tx-old" ;;
    reverted | committed | staged) rm -f "$roots/$tx-new" ;;
  esac
  rm -f "$reserve"
  timeout 10 systemctl stop nixdeploy-backstop.timer 2> /dev/null || :
  exit 0
}

# spoken OUTCOME: the last lines of what failed to commit, or to go back.
spoken() {
  val step
  case $1:$v in
    revert_failed:*) spoken_log=revert.log ;;
    *:undo) spoken_log=commit.log ;;
    *) return 0 ;;
  esac
  tail -n 20 "$d/$spoken_log" 2> /dev/null | sed 's/^/log=/'
}

pointers() {
  printf 'running=%s\nprofile=%s\nlink=%s\nboot=%s\n' "$(running)" "$(pointer "$profile")" \
    "$(readlink "$profile" 2> /dev/null)" "$(boot_default)"
}

# --- hold ---------------------------------------------------------------------

lapsed() { val lease; now; [ "$uptime_s" -ge "${v:-0}" ]; }

hold() {
  phase hold
  while :; do
    [ ! -e "$d/req.abort" ] || expire 'aborted by the deployer'
    [ ! -e "$d/req.stage" ] || stage
    [ ! -e "$d/req.trial" ] || trial
    [ ! -e "$d/req.go" ] || { arm && return; }
    [ ! -e "$d/req.external" ] || { arm_external && return; }
    ! lapsed || expire 'the deployer did not renew its lease'
    nap
  done
}

expire() { finish expired "$1"; }

# intact: NEW is a system and its closure is whole.
intact() {
  [ -x "$new/bin/switch-to-configuration" ] && [ -e "$new/nixos-version" ] || return 1
  # It stands there since the rehearsal; what is not there any more shows all the same.
  if [ ! -s "$d/closure" ]; then timeout 120 nix-store -qR "$new" > "$d/closure" || return 1; fi
  while IFS= read -r path; do [ -e "$path" ] || [ -L "$path" ] || return 1; done < "$d/closure"
}

prepare() { # the new closure is here: nothing is changed, everything is kept
  if ! intact; then
    put refused 'the closure is not whole on the host'
    rm -f "$d/req.go" "$d/req.stage" "$d/req.external" "$d/closure"
    wake
    return 1
  fi
  untouched || finish foreign 'somebody changed the host while it was held, before anything was begun'
  dd if=/dev/zero of="$reserve" bs=1048576 count=8 2> /dev/null || rm -f "$reserve"
}

# untouched: what runs and what boots is what it was when the host was taken hold of; a copy, or a
# person who is asked, may have taken long since.
untouched() {
  [ "$(running)" = "$old" ] || return 1
  val profile0; [ "$(pointer "$profile")" = "$v" ] || return 1
  val boot0; [ "$(boot_default)" = "$v" ]
}

arm() {
  prepare || return 1
  keep
  val activate; now
  put deadline $((uptime_s + v)) || decide revert 'nothing could be written down'
  backstop_arm &
  phase armed
  val activate
  put started "$uptime_s" || decide revert 'nothing could be written down'
  activating=1
  if ! timeout 30 systemd-run --quiet --collect --unit="$act_unit" --service-type=exec \
    --property=RuntimeMaxSec="$v" --property=TimeoutStopSec=5 --property=IgnoreOnIsolate=yes \
    --property=LogRateLimitIntervalSec=0 --property=ExecStopPost="$old/sw/bin/sh $d/guard ended" \
    -- "$new/bin/switch-to-configuration" test < /dev/null; then
    put act "result=unstarted code= status= at=$uptime_s"
  fi
  return 0
}

# Another engine switches: what is written down before it begins is that it may have begun.
arm_external() {
  prepare || return 1
  links_before && put made "$(next_generation)" && put external armed || return 1
  keep
  val activate; now
  put deadline $((uptime_s + v)) || decide revert 'nothing could be written down'
  backstop_arm &
  put started "$uptime_s" || decide revert 'nothing could be written down'
  activating=1
  wake
  phase armed 'another engine switches'
}

# adopt: what the engine made of the profile is what is new.
adopt() {
  adopted=$(pointer "$profile")
  if ! valid_store_path "$adopted" || [ "$adopted" = "$old" ] || [ "$adopted" = "$new" ]; then return 0; fi
  ln -sfn "$adopted" "$roots/$tx-new"
  kept=${kept}new=$adopted$line_end
  put new "$adopted" && new=$adopted
}

# ours PATH: it is the new system, and an engine may have put it there.
ours() { [ -e "$d/external" ] && [ "$1" = "$new" ]; }

# A timer that looks at once and every half minute, and wakes a guard that hangs past its deadline.
# The deadline is looked up then: systemd's own times since boot leave out what the host slept, and in
# a container begin with it (systemd.timer(5), OnBootSec), and OnActiveSec begins anew at each reload.
backstop_arm() {
  timeout 30 systemd-run --quiet --collect --unit=nixdeploy-backstop \
    --on-active=0 --on-unit-inactive=30 --timer-property=AccuracySec=1s \
    -- "$old/sw/bin/sh" "$d/guard" backstop < /dev/null > /dev/null 2>&1 || tell armed 'no backstop timer'
}

backstop_again() { timeout 10 systemctl is-active --quiet nixdeploy-backstop.timer || backstop_arm & }

backstop() {
  [ ! -e "$d/outcome" ] || exit 0
  val deadline; now
  late_s=$((uptime_s - ${v:-0}))
  # Stopped by hand and killed before its last process had ended: systemd starts that never again.
  if gone nixdeploy-guard.service && [ ! -e "$d/outcome" ] && ! stopping; then
    tell backstop 'the guard is gone: starting it anew'
    start
    exit 0
  fi
  if [ $late_s -lt 0 ]; then exit 0; fi
  if [ $late_s -lt 30 ] || [ -L "$d/decision" ]; then frozen || exit 0; fi
  tell backstop 'the guard is late: starting it anew'
  timeout 10 systemctl kill --signal=KILL nixdeploy-guard.service
}

# frozen: somebody stopped the guard (SIGSTOP, systemctl freeze): it will not go on by itself.
frozen() {
  unit_show=$(timeout 10 systemctl show -p MainPID -p FreezerState nixdeploy-guard.service)
  case $unit_show in *FreezerState=frozen*) return 0 ;; esac
  unit_pid=${unit_show#*MainPID=}
  grep -q '^State:[[:space:]]*[Tt]' "/proc/${unit_pid%%[!0-9]*}/status" 2> /dev/null
}

# Called by systemd when the activation unit has ended, with its result in the environment.
ended() {
  now
  put act "result=${SERVICE_RESULT:-} code=${EXIT_CODE:-} status=${EXIT_STATUS:-} at=$uptime_s"
  wake
}

# --- observe ------------------------------------------------------------------

observe() {
  [ -e "$d/started" ] || decide revert 'interrupted before the activation began'
  beats=0
  while :; do
    [ -d "$d" ] || decide revert 'its folder in /run was removed'
    [ ! -e "$d/act" ] || activated
    [ ! -e "$d/req.abort" ] || decide revert 'aborted by the deployer'
    val deadline; now
    [ "$uptime_s" -lt "${v:-0}" ] || decide revert "$(overdue)"
    [ ! -e "$d/req.commit" ] || [ ! -e "$d/observing" ] || decide commit 'verified by the deployer'
    beats=$((beats + 1))
    if [ $((beats % 8)) = 0 ] && [ ! -e "$d/act" ] && [ ! -e "$d/external" ] && vanished; then
      decide revert 'the activation ended without a record'
    fi
    nap
  done
}

# The activation is over: from its end the deployer has its time to verify, once, also where the
# guard was killed meanwhile.
activated() {
  [ ! -e "$d/observing" ] || return 0
  now
  [ ! -e "$d/external" ] || adopt
  val act; ended_s=${v##* at=}
  case $ended_s in '' | *[!0-9]*) ended_s=$uptime_s ;; esac
  val observe
  put deadline $((ended_s + v))
  put observing "$uptime_s"
  wake
  val act
  phase observe "$v"
  case $v in result=timeout*) decide revert 'the activation took too long' ;; esac
  case $v in result=unstarted*) decide revert 'the activation could not be started' ;; esac
}

overdue() {
  if [ -e "$d/observing" ]; then echo 'no commit before the deadline'; else echo 'the activation took too long'; fi
}

vanished() { gone "$act_unit" && [ ! -e "$d/act" ]; }

# gone UNIT: systemd says that it is over.
gone() {
  v=$(timeout 10 systemctl show -P ActiveState "$1" 2> /dev/null) || return 1
  case $v in inactive | failed) ;; *) return 1 ;; esac
}

# One link, made once, is the decision; whoever comes second obeys the first.
decide() {
  put reason "$2"
  decided=$1
  ln -s "$1" "$d/decision" 2> /dev/null || :
  wake
  carry_out
}

carry_out() {
  [ -d "$d" ] || restore
  case $(decision) in
    commit) committing ;;
    *) revert ;;
  esac
}

# --- commit -------------------------------------------------------------------

committing() {
  if [ ! -e "$d/step" ]; then
    put step begun || undo 'nothing could be written down'
    phase committing
    # An engine's generation was written down before it began.
    if [ ! -e "$d/external" ]; then
      links_before || undo 'nothing could be written down'
      put made "$(next_generation)" || undo 'nothing could be written down'
    fi
    val made
    kept_commit
    commit_start || undo 'the commit could not be started'
  fi
  val step
  [ "$v" != undo ] || undo "$(reason)"
  beats=0
  while [ ! -e "$d/committed" ]; do
    nap
    beats=$((beats + 1))
    if [ $((beats % 4)) = 0 ] && gone "$commit_unit" && [ ! -e "$d/committed" ]; then break; fi
  done
  val committed
  case $v in
    0) finish "$done_word" "$(reason)" "boot_default=$(boot_word)" ;;
    20) undo 'the running system is not the new one' ;;
    21) finish foreign 'profile or boot default were changed by somebody else' ;;
    22) undo 'the profile could not be set' ;;
    23) undo 'the boot loader could not be installed' ;;
    24) undo 'the boot default is not the new system' ;;
    25) undo 'nothing could be written down' ;;
    26) undo 'profile and boot default could not be brought to the disk' ;;
    124) undo 'setting the profile and the boot default took too long' ;;
    *) undo 'setting the profile and the boot default was cut off' ;;
  esac
}

# next_generation: the link that nix-env will make, one above all there are.
next_generation() {
  highest=0
  for generation in "$profile"-*-link; do
    generation=${generation#"$profile"-}
    generation=${generation%-link}
    case $generation in '' | *[!0-9]*) continue ;; esac
    [ "$generation" -le "$highest" ] || highest=$generation
  done
  echo "system-$((highest + 1))-link"
}

reason() { val reason; printf '%s' "$v"; }
boot_word() { if [ -n "$(boot_default)" ]; then echo verified; else echo unverified; fi; }

# A unit of its own: a hung boot loader is ended with all that it started, a guard that is killed
# finds it still at work, and an undo can wait until nothing of it is left.
commit_start() {
  : > "$d/commit.log" # by us: systemd would make it readable for all
  val commit
  timeout 30 systemd-run --quiet --collect --unit="$commit_unit" --service-type=exec \
    --property=RuntimeMaxSec="$v" --property=TimeoutStopSec=5 --property=IgnoreOnIsolate=yes \
    --property=StandardOutput="append:$d/commit.log" --property=StandardError="append:$d/commit.log" \
    --property=ExecStopPost="$old/sw/bin/sh $d/guard commit-ended" \
    -- "$old/sw/bin/sh" "$d/guard" commit-step < /dev/null 2> /dev/null
}

# Called by systemd when the commit unit has ended.
commit_ended() {
  case ${SERVICE_RESULT:-}:${EXIT_CODE:-} in
    timeout:*) put committed 124 ;;
    *:exited) put committed "${EXIT_STATUS:-137}" ;;
    *) put committed 137 ;;
  esac
  wake
}

commit_step() {
  val step; [ "$v" = begun ] || exit 25 # started so late that it is given up
  if ! staging; then
    [ "$(running)" = "$new" ] && etc_is "$new" || exit 20
  fi
  at=$(pointer "$profile")
  val profile0; [ "$at" = "$v" ] || ours "$at" || exit 21
  at=$(boot_default)
  val boot0; boot0=$v; [ "$at" = "$boot0" ] || ours "$at" || exit 21
  put step set && put boot_begun 1 || exit 25
  if ! ours "$at" || ! ours "$(pointer "$profile")"; then
    { [ -e "$d/mending" ] && mended; } || nix-env -p "$profile" --set "$new" || no_room 22
    "$new/bin/switch-to-configuration" boot || no_room 23
  fi
  { sync -f "$(boot_mount || echo /)" && sync -f /nix/var/nix/profiles; } || no_room 26
  [ "$(pointer "$profile")" = "$new" ] || exit 22
  case $(boot_default) in
    "$new") ;;
    '') [ -z "$boot0" ] || exit 24 ;;
    *) exit 24 ;;
  esac
  exit 0
}

# mended: after a commit that a reboot cut off the profile is the generation again that runs, and a
# later one, which nobody verified, goes; no generation is made.
mended() {
  mended_to=$(generations | while IFS= read -r link; do
    [ "$(pointer "$link")" != "$new" ] || printf '%s\n' "$link"
  done | sed -n 's/^.*-\([0-9]*\)-link$/\1/p' | sort -n | tail -n 1)
  [ -n "$mended_to" ] || return 1
  nix-env -p "$profile" --switch-generation "$mended_to" || return 1
  val link0
  number=${v#system-} number=${number%-link}
  case $number in '' | *[!0-9]*) return 0 ;; esac
  [ "$number" -le "$mended_to" ] || nix-env -p "$profile" --delete-generations "$number"
}

no_room() { # STATUS: gives up; what is free where something was to be written is told with it
  df -h "$(boot_mount || echo /boot)" /nix/var/nix
  exit "$1"
}

stage() {
  prepare || return 1
  ln -s commit "$d/decision" 2> /dev/null || :
  put reason 'staged for the next boot'
  backstop_arm &
  decided=commit done_word=staged
  committing
}

# Takes back what the commit did: the profile first, then its generation, then the boot default.
undo() {
  rm -f "$d/reserve"
  put step undo
  kept=${kept}step=undo$line_end
  put reason "$1"
  phase undo "$1"
  timeout 60 systemctl stop "$commit_unit" 2> /dev/null
  switch_lock
  rm -f "$reserve"
  [ -d "$d" ] || restore
  begun=; [ ! -e "$d/boot_begun" ] || begun=1
  val link0; link0=$v
  val made; made=$v
  val boot0; boot0=$v
  before=$boot0
  [ -x "$before/bin/switch-to-configuration" ] || before=$old
  undo_profile
  if [ -n "$begun" ]; then
    for _ in 1 2 3; do
      NIXOS_NO_CHECK=1 timeout 120 "$before/bin/switch-to-configuration" boot >> "$d/undo.log" 2>&1
      [ "$(boot_default)" != "$boot0" ] || break
      switch_lock
    done
  fi
  [ ! -e "$d/links0" ] || unprofile
  [ "$(boot_default)" = "$boot0" ] || put undone 'boot default is not what it was'
  if [ -e "$d/external" ]; then
    put external undone
    kept=${kept}external=undone$line_end
  fi
  if staging; then
    [ ! -e "$d/undone" ] || finish revert_failed "$1; the boot default is not what it was"
    finish reverted "$1"
  fi
  revert
}

# Waits until no switch-to-configuration is at work, a minute at most.
switch_lock() {
  mkdir -p /run/nixos
  flock -w 60 /run/nixos/switch-to-configuration.lock true 2> /dev/null || :
}

# The link back, then the generation away that was made: the order that nix-env wants, and each step
# as good the second time. What is neither NEW nor an engine's is somebody else's.
undo_profile() {
  if [ -z "$link0" ]; then
    undo_first
    return
  fi
  number=${link0#system-}
  if made_here "$profile" && [ "$(readlink "$profile")" != "$link0" ]; then
    # Whoever collected garbage with -d meanwhile deleted every generation but the profile's.
    val profile0
    [ -L "${profile%/*}/$link0" ] || [ ! -e "$v" ] || ln -s "$v" "${profile%/*}/$link0"
    timeout 60 nix-env -p "$profile" --switch-generation "${number%-link}" >> "$d/undo.log" 2>&1
  fi
  [ -n "$made" ] && made_here "${profile%/*}/$made" || return 0
  number=${made#system-}
  timeout 60 nix-env -p "$profile" --delete-generations "${number%-link}" >> "$d/undo.log" 2>&1
}

made_here() { # LINK: it leads to NEW, or where an engine deployed what ran, to OLD
  case $(pointer "$1") in
    "$new") ;;
    "$old") [ -e "$d/external" ] ;;
    *) return 1 ;;
  esac
}

# Where there was no generation OLD is one until its entry is written: builders of boot loaders
# give entries to generations alone, and would leave none.
undo_first() {
  [ -n "$begun" ] || return 0
  case $(pointer "$profile") in
    "$new" | "$old" | '') timeout 60 nix-env -p "$profile" --set "$old" >> "$d/undo.log" 2>&1 ;;
  esac
}

generations() {
  for link in "$profile"-*-link; do [ ! -L "$link" ] || printf '%s\n' "$link"; done
}

# links_before: the generations that are there, written down once, where the profile was none's.
links_before() {
  val link0
  if [ -n "$v" ] || [ -e "$d/links0" ]; then return 0; fi
  generations > "$d/.links0.$$" && mv -f "$d/.links0.$$" "$d/links0"
}

# unprofile: no profile, or one that was no generation's, and no generation of OLD or NEW but those
# before.
unprofile() {
  val profile0
  case $(pointer "$profile") in
    "$new" | "$old" | '') if [ -n "$v" ]; then ln -sfn "$v" "$profile"; else rm -f "$profile"; fi ;;
  esac
  generations | while IFS= read -r link; do
    case $(pointer "$link") in "$new" | "$old") ;; *) continue ;; esac
    grep -qxF "$link" "$d/links0" || rm -f "$link"
  done
}

# --- revert -------------------------------------------------------------------

revert() {
  val reason; why=$v
  # What this process began it knows, also where its folder was removed between two looks.
  if [ -z "$activating" ] && [ ! -e "$d/started" ] && [ "$(running)" = "$old" ]; then
    finish reverted "$why" rung=0
  fi
  val external
  if [ "$v" = armed ]; then # the engine may still be at work, and has moved what a commit moves
    timeout 60 systemctl stop nixos-rebuild-switch-to-configuration.service 2> /dev/null
    adopt
    put boot_begun 1
    undo "$why"
  fi
  phase reverting "$why"
  [ ! -e "$d/rebooting" ] || by_reboot
  timeout 30 systemctl stop "$act_unit" 2> /dev/null
  switch_lock
  ours_to_take_back
  val act
  case $v in
    # another one had switch-to-configuration's lock, so ours did nothing
    *'code=exited status=11 '*)
      [ -n "$(wanting)" ] || finish reverted "$why" rung=0
      if [ "$(running)" != "$old" ] || [ -n "$(pointing)" ]; then
        finish foreign "$why; another switch-to-configuration changed the host"
      fi
      ;;
  esac
  climb
}

ours_to_take_back() {
  case $(running) in
    "$old" | "$new") ;;
    *) finish foreign "$why; the running system is neither the old nor the new one" ;;
  esac
}

# Units that were active before and belong to OLD's targets, with their state now.
states() {
  [ -s "$d/baseline" ] || return 0
  # shellcheck disable=SC2046 # unit names are words
  timeout 30 systemctl show -p Id -p ActiveState $(cat "$d/baseline") 2> /dev/null \
    | awk -F= '/^Id=/ { id = $2 } /^ActiveState=/ { state = $2 }
        /^$/ { print id, state } END { print id, state }'
}
# missing: each of them that is not known to be active; silence is no proof.
missing() {
  [ -s "$d/baseline" ] || return 0
  states | awk 'now == "" { want[$1]; next } $2 == "active" { delete want[$1] }
    END { for (unit in want) print unit }' "$d/baseline" now=1 -
}

# settle: until no unit is on its way, half a minute at most.
settle() {
  settled=0
  while [ $settled -lt 60 ] && states | grep -qE ' (activating|deactivating|reloading)$'; do
    settled=$((settled + 1))
    nap
  done
}

# Marks of failure that NEW's units left behind are not the old system's.
clean_failed() {
  timeout 10 systemctl list-units --failed --plain --no-legend --full 2> /dev/null \
    | while read -r unit _; do
      grep -qxF "$unit" "$d/failed0" || timeout 10 systemctl reset-failed "$unit" 2> /dev/null
    done
  return 0
}

# --- the unit -----------------------------------------------------------------

# start: the unit whose name is the host's lock; fails while another transaction has it. Without
# its default dependencies: while it is stopped by hand its last process goes back, which starts
# targets, and a target that the guard is ordered after would wait for that very stop.
start() {
  val activate; stop_s=$v
  val commit
  stop_s=$((5 * stop_s + v + 2000)) # a stop by hand has to wait for an undo and a whole ladder
  timeout 60 systemd-run --quiet --collect --unit=nixdeploy-guard --service-type=exec \
    --description="nixdeploy $tx" --property=Restart=on-failure --property=RestartSec=500ms \
    --property=StartLimitIntervalSec=0 --property=TimeoutStopSec=$stop_s --property=RuntimeMaxSec=21600 \
    --property=DefaultDependencies=no --property=Conflicts=shutdown.target \
    --property=Before=shutdown.target --property=IgnoreOnIsolate=yes --property=OOMScoreAdjust=-1000 \
    --property=LogRateLimitIntervalSec=0 --property=ExecStopPost="$old/sw/bin/sh $d/guard post" \
    -- "$old/sw/bin/sh" "$d/guard" run < /dev/null 2> "$d/unit.log"
}

run() {
  [ -p "$d/bell" ] || mkfifo "$d/bell" || :
  [ ! -p "$d/bell" ] || exec 3<> "$d/bell"
  keep
  [ ! -e "$d/outcome" ] || exit 0
  if [ -L "$d/decision" ]; then
    tell resumed "decision $(decision)"
    backstop_again
    decided=$(decision)
    ! staging || done_word=staged
    carry_out
  fi
  if [ -e "$d/deadline" ]; then backstop_again; else hold; fi
  observe
}

# After the unit's end: only an explicit stop is answered here; a crash is systemd's to restart.
post() {
  [ ! -e "$d/outcome" ] || exit 0
  ! stopping || exit 0
  [ "${SERVICE_RESULT:-}" = success ] || exit 0
  [ ! -p "$d/bell" ] || exec 3<> "$d/bell"
  keep
  ! staging || done_word=staged
  [ ! -L "$d/decision" ] || carry_out
  [ -e "$d/deadline" ] || expire 'the guard was stopped'
  decide revert 'the guard was stopped'
}

# --- requests of the deployer ---------------------------------------------------

valid_store_path() {
  case $1 in
    /nix/store/*[!0-9A-Za-z+._?=-]*) return 1 ;;
    /nix/store/????????????????????????????????-?*) return 0 ;;
    *) return 1 ;;
  esac
}

request() { # go|stage|trial|external|abort|commit [NEW]
  case $1 in
    go | stage | trial | external)
      valid_store_path "$2" || { echo 'error=bad-path'; exit 2; }
      [ "$new" = "$2" ] || { echo 'error=another-path'; exit 2; }
      ;;
    # One that is decided tells what it did, also where its folder was made again meanwhile.
    commit) [ -e "$d/act" ] || [ -L "$d/decision" ] || { echo 'error=nothing-to-commit'; exit 2; } ;;
    abort) ;;
    *) echo 'error=bad-request'; exit 2 ;;
  esac
  rm -f "$d/refused"
  put "req.$1" 1
  wake
}

renew() {
  val lease_s; lease_s=$v
  now
  put lease $((uptime_s + lease_s))
}

# show: where the transaction stands.
show() {
  for key in owner phase deadline started observing act reason refused; do
    val $key
    [ -z "$v" ] || printf '%s=%s\n' "$key" "$v"
  done
  now
  printf 'tx=%s\nold=%s\nuptime=%s\ndecision=%s\n' "$tx" "$old" "$uptime_s" "$(decision)"
  val new
  printf 'new=%s\n' "$v"
  printf 'boot_id='
  while IFS= read -r line; do printf '%s\n' "$line"; done < /proc/sys/kernel/random/boot_id
  # With an outcome it is at work no more.
  if [ ! -e "$d/outcome" ]; then
    printf 'guard=%s\n' "$(timeout 10 systemctl show -P ActiveState nixdeploy-guard.service 2> /dev/null)"
  fi
  for key in rebooting outcome; do
    [ ! -e "$d/$key" ] || while IFS= read -r line; do printf '%s\n' "$line"; done < "$d/$key"
  done
}

# follow: the activation's lines from the journal as they come, each a JSON object; that it is over;
# then all of them once more (the reader drops what it has, by the cursor); then where the
# transaction stands. What was restarted is counted before anybody hears that it is over.
follow() {
  set -- --output=json --output-fields=MESSAGE --all --quiet --no-pager _SYSTEMD_UNIT="$act_unit"
  journalctl --follow --lines=all "$@" < /dev/null &
  reader=$! restarts=''
  listen
  until [ -e "$d/act" ] || [ -L "$d/decision" ] || [ -e "$d/refused" ]; do watched || break; done
  timeout 10 journalctl --sync 2> /dev/null &
  syncing=$!
  if [ -e "$d/act" ]; then
    restarts=$(sample_units)
    val act
    printf 'act=%s\n' "$v"
  fi
  wait "$syncing"
  kill "$reader" 2> /dev/null
  wait "$reader" 2> /dev/null
  [ ! -e "$d/started" ] || journalctl "$@" < /dev/null
  [ -z "$restarts" ] || printf '%s\n' "$restarts"
  show
}

# armed: until the guard waits for the engine's end, or will not.
armed() {
  listen
  until [ -e "$d/started" ] || [ -L "$d/decision" ]; do watched || break; done
  show
}

# engine_ended STATUS: the engine is done, on the deployer; from here the host is looked at.
engine_ended() {
  case $1 in '' | *[!0-9]*) echo 'error=bad-status'; exit 2 ;; esac
  [ -e "$d/external" ] || { echo 'error=no-engine'; exit 2; }
  now
  [ -e "$d/act" ] || put act "result=external code=exited status=$1 at=$uptime_s"
  listen
  wake
  until [ -e "$d/observing" ] || [ -L "$d/decision" ]; do watched || break; done
  sample_units
  show
}

# await: until there is an outcome.
await() {
  listen
  while watched; do :; done
  show
}

# listen: a pipe at which whoever follows is woken when there is something new.
listen() {
  ear=$d/ear.$$
  if mkfifo "$ear" 2> /dev/null; then
    trap 'rm -f "$ear"' EXIT
    exec 4<> "$ear"
  else
    ear=
  fi
}

# watched: a moment passed, there is no outcome, and somebody is at work on one.
watched() {
  [ ! -e "$d/outcome" ] && [ ! -e "$d/refused" ] && [ ! -e "$d/rebooting" ] || return 1
  if [ -p "$ear" ]; then
    timeout 0.5 dd bs=64 count=1 <&4 > /dev/null 2>&1 || :
    watches=$((${watches:-0} + 9))
  else
    sleep 0.05
  fi
  watches=$((${watches:-0} + 1))
  [ $((watches % 40)) = 0 ] || return 0
  v=$(timeout 10 systemctl show -P ActiveState nixdeploy-guard.service 2> /dev/null) || return 0
  case $v in inactive | failed) return 1 ;; esac
}

guard_main() {
  val owner; owner=$v
  val new; new=$v
  done_word=committed
  case ${1:-} in
    run | post | ended | backstop | renew | show | follow | await) "$@" ;;
    start) start || exit 1 ;;
    commit-step) commit_step ;;
    commit-ended) commit_ended ;;
    go) request go "${2:-}"; follow ;;
    external) request external "${2:-}"; armed ;;
    engine-ended) engine_ended "${2:-}" ;;
    mend) put mending 1 && request stage "${2:-}"; await ;;
    stage | trial | abort | commit) request "$1" "${2:-}"; await ;;
    *) echo 'error=bad-verb'; exit 2 ;;
  esac
  case $1 in
    start | renew | show | follow | await | go | stage | mend | trial | external | engine-ended | abort | commit)
      echo 'end=0'
      ;;
  esac
}
guard_main "$@"
