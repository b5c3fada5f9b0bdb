# Everything that is read of a host before anything is decided, over one connection. Sent after
# bootloader.sh on the standard input of `sh -s`, as root. It changes nothing, takes no lock, and
# what cannot be read is left out, never guessed.
# Two parts: what "nothing to do" needs is printed before the shell has even read the rest, which
# may come later or never (read.rs), and normally starts no program; a bash (NixOS's sh) reads its script
# byte by byte, so length is time.
# $1: prefix of every path, for tests; empty on a host.
# shellcheck shell=sh
# shellcheck disable=SC3013 # dash, bash and busybox all know -ef
# shellcheck disable=SC2154 # boot_dir, boot_found: of bootloader.sh
# shellcheck disable=SC2020 # sets of characters are meant
# shellcheck disable=SC2015 # the last part is to run in either case

# say KEY VALUE: nothing for an empty value.
say() { if [ -n "$2" ]; then printf '%s=%s\n' "$1" "$2"; fi; }

# at PATH: where the folder at PATH really is, in $at; empty when it is none.
at() {
  at=
  if CDPATH='' cd -P -- "$root$1" 2> /dev/null; then at=${PWD#"$root"}; fi
}

# word FILE: its first line, in $word.
word() {
  word=
  if [ -r "$1" ]; then IFS= read -r word < "$1" || true; fi
}

# profile_link: the name of the profile's generation link, in $link. Reading a link needs a program,
# so that is done only when several generations are the same system.
profile_link() {
  link=
  for file in "$root"/nix/var/nix/profiles/system-*-link; do
    [ "$file" -ef "$root/nix/var/nix/profiles/system" ] || continue
    if [ -n "$link" ]; then
      link=$(readlink "$root/nix/var/nix/profiles/system" 2> /dev/null < /dev/null)
      return 0
    fi
    link=${file##*/}
  done
}

# own_uid: our user's number, in $uid.
own_uid() {
  uid=
  while read -r key value _; do
    if [ "$key" = Uid: ]; then uid=$value; break; fi
  done < /proc/self/status
}

# etc_of_running: 1 in $etc when /etc is the running system's, by its link or its overlay.
etc_of_running() {
  etc=0
  at /etc/static
  if [ -n "$at" ]; then
    there=$at
    at /run/current-system/etc
    if [ "$at" = "$there" ]; then etc=1; fi
  else
    at /run/current-system/etc-basedir
    while read -r _ mount _ options _; do
      case $mount:$options in "/etc:"*"${at:-none}"*) etc=1 ;; esac
    done < "$root/proc/mounts"
  fi
}

# guard_state: busy while a transaction has no outcome, in $guard.
guard_state() {
  guard=none
  if [ -e "$root/run/nixdeploy/current/outcome" ]; then guard='done'
  elif [ -e "$root/run/nixdeploy" ]; then guard=idle
    if [ -e "$root/run/nixdeploy/current" ]; then guard=busy; fi
  fi
}

early() {
  root=${1:-}
  # shellcheck disable=SC2034 # read by bootloader.sh
  boot_root=$root
  LC_ALL=C
  at /run/current-system
  running=$at
  PATH=$root$running/sw/bin
  export PATH LC_ALL
  at /run/booted-system; booted=$at
  at /nix/var/nix/profiles/system; profile=$at
  profile_link
  etc_of_running
  CDPATH='' cd /
  boot_default_plain || boot_found=$(boot_default < /dev/null)
  word "$root/proc/sys/kernel/hostname"; host=$word
  word "$root/etc/machine-id"; machine=$word
  word "$root/proc/sys/kernel/random/boot_id"; boot=$word
  own_uid
  guard_state
  nixos=0
  if [ -e "$root$running/nixos-version" ] && [ -e "$root$running/bin/switch-to-configuration" ]; then nixos=1; fi
  printf '%s\n' nixdeploy-facts=1 "running=$running" "booted=$booted" "profile=$profile" "link=$link" \
    "etc=$etc" "boot_default=$boot_found" "host=$host" "machine_id=$machine" "boot_id=$boot" \
    "uid=$uid" "guard=$guard" "nixos=$nixos" part=1
}

early "$@"

# has PROGRAM: whether the running system has it.
has() { command -v "$1" > /dev/null 2>&1; }

# units: all that are not inactive; of services also restarts, result and where they come from.
units() {
  has systemctl || return 0
  say state "$(systemctl is-system-running 2> /dev/null)"
  listed=$(systemctl list-units --plain --no-legend --full --type=service,socket,timer,mount,target 2> /dev/null) || return 0
  say systemctl 1
  printf '%s\n' "$listed" | awk 'NF >= 4 { print "unit=" $1, $2, $3, $4 }'
  # shellcheck disable=SC2046 # names of units are words
  set -- $(printf '%s\n' "$listed" | awk '$1 ~ /\.service$/ { print $1 }')
  [ $# -gt 0 ] || return 0
  systemctl show -p Id -p NRestarts -p Result -p UnitFileState -p FragmentPath -- "$@" 2> /dev/null | awk '
    function or(value) { return value == "" ? "-" : value }
    function out() {
      if (v["Id"] != "") print "service=" v["Id"], or(v["NRestarts"]), or(v["Result"]), or(v["UnitFileState"]), or(v["FragmentPath"])
      split("", v)
    }
    /^$/ { out(); next }
    { i = index($0, "="); v[substr($0, 1, i - 1)] = substr($0, i + 1) }
    END { out() }'
}

# space: the file systems of the store, the root and the boot loader.
space() {
  set -- /nix/store /
  if boot_mount > /dev/null; then set -- "$@" "$boot_dir"; fi
  for place in "$@"; do
    df -P -k -- "$place" 2> /dev/null | awk -v place="$place" -v mounts="$root/proc/mounts" '
      NR == 2 {
        while ((getline line < mounts) > 0) { split(line, m, " "); if (m[2] == $NF) type = m[3] }
        print "disk=" place, (type == "" ? "-" : type), $(NF - 4), $(NF - 2), $NF
      }'
  done
}

# loader: which one, its entries with their toplevels, its files with their sizes.
loader() {
  boot_mount > /dev/null || { say loader none; return 0; }
  say boot_mount "$boot_dir"
  loader=unknown
  if [ -e "$boot_dir/grub/grub.cfg" ]; then loader=grub
  elif [ -e "$boot_dir/extlinux/extlinux.conf" ]; then loader=extlinux
  fi
  for file in "$boot_dir"/EFI/Linux/nixos-*.efi; do if [ -e "$file" ]; then loader=lanzaboote; fi; done
  for file in "$boot_dir"/loader/entries/*.conf; do if [ -e "$file" ]; then loader=systemd-boot; fi; done
  say loader "$loader"
  awk '
    function out() { if (id != "") print "entry=" id, (top == "" ? "-" : top), files; id = top = files = "" }
    FNR == 1 { out(); id = FILENAME; sub(/.*\//, "", id) }
    $1 == "linux" || $1 == "initrd" { files = files (files == "" ? "" : " ") $2 }
    $1 == "options" { for (i = 2; i <= NF; i++) if ($i ~ /^init=\/nix\/store\//) { top = $i; sub(/^init=/, "", top); sub(/\/init$/, "", top) } }
    END { out() }' "$boot_dir"/loader/entries/*.conf 2> /dev/null
  for file in "$boot_dir"/EFI/Linux/*.efi; do
    [ -e "$file" ] || continue
    if boot_init "$(grep -aom1 'init=/nix/store/[^ ]*/init' "$file" | head -n 1)"; then say entry "${file##*/} $boot_found"; fi
  done
  stat -c 'file=%s %n' -- "$boot_dir"/EFI/nixos/* "$boot_dir"/EFI/Linux/* "$boot_dir"/kernels/* "$boot_dir"/nixos/* 2> /dev/null
}

# boot_limit: how many generations the installed builder keeps, from its own script.
boot_limit() {
  installer=$(grep -aoE '/nix/store/[0-9a-z]{32}-[-+._?=A-Za-z0-9]*install[-+._?=A-Za-z0-9/]*' "$root$running/bin/switch-to-configuration" 2> /dev/null | head -n 1)
  [ -n "$installer" ] || return 0
  limit=$(grep -aohiE '(configuration-?limit[ =]+"?|^LIMIT=)[0-9]+' "$root$installer" 2> /dev/null | head -n 1)
  if [ -z "$limit" ]; then
    # shellcheck disable=SC2046 # store paths are words
    limit=$(grep -hoE '(CONFIGURATION_LIMIT|configuration_limit) *= *(int\()?"?[0-9]+' -- $(grep -aoE '/nix/store/[0-9a-z]{32}-[-+._?=A-Za-z0-9]*boot[-+._?=A-Za-z0-9/]*' "$root$installer" 2> /dev/null | sort -u | head -n 8) 2> /dev/null < /dev/null | head -n 1)
  fi
  limit=${limit##*[!0-9]}
  say boot_limit "$limit"
}

# system_links: what is running and what was booted, where a reboot would make a difference.
system_links() {
  for which in running booted; do
    if [ $which = running ]; then top=$running; else top=$booted; fi
    [ -n "$top" ] || continue
    # shellcheck disable=SC2046 # store paths are words
    set -- $(readlink -m -- "$root$top/kernel" "$root$top/initrd" "$root$top/kernel-modules" 2> /dev/null)
    say "${which}_kernel" "${1:-}"
    say "${which}_initrd" "${2:-}"
    say "${which}_modules" "${3:-}"
    word "$root$top/kernel-params"; say "${which}_params" "$word"
    word "$root$top/init-interface-version"; say "${which}_init" "$word"
    if [ -e "$root$top/switch-inhibitors" ]; then
      say "${which}_inhibitors" "$(tr '\n\r' '\t\t' < "$root$top/switch-inhibitors" 2> /dev/null | head -c 65536)"
    fi
  done
}

# generations: every link of the profile with its time, since when what runs does, and the
# specialisation that runs.
generations() {
  stat -c 'switched=%Y' -- "$root"/run/current-system 2> /dev/null
  stat -c 'generation=%Y %N' -- "$root"/nix/var/nix/profiles/system-*-link 2> /dev/null
  for special in "$root$profile"/specialisation/*; do
    [ -e "$special" ] || continue
    if [ "$special" -ef "$root/run/current-system" ]; then say specialisation "${special##*/}"; fi
  done
}

# machine: figures of the kernel.
machine() {
  word "$root/proc/uptime"; say uptime "${word%% *}"
  say now "$(date +%s)"
  word "$root/proc/loadavg"; say load "${word%% *}"
  say cpus "$(nproc 2> /dev/null)"
  awk '$1 == "MemTotal:" { print "memory_total=" $2 } $1 == "MemAvailable:" { print "memory_available=" $2 }' "$root/proc/meminfo"
}

# transactions: the guard's files, of the one that holds the host and of those before it.
transactions() {
  for dir in "$root"/run/nixdeploy/*; do
    [ -d "$dir" ] && [ ! -L "$dir" ] || continue
    say tx "${dir##*/}"
    if [ "$dir" -ef "$root/run/nixdeploy/current" ]; then say tx_current 1; fi
    for name in owner phase deadline outcome; do
      word "$dir/$name"
      say "tx_$name" "$word"
    done
    say tx_decision "$(readlink "$dir/decision" 2> /dev/null)"
    if [ -e "$dir/outcome" ]; then say tx_ended "$(stat -c %Y "$dir/outcome")"; fi
    say tx_since "$(stat -c %Y "$dir/owner" 2> /dev/null || stat -c %Y "$dir" 2> /dev/null)"
  done
}

# leftovers: roots of ours, and what an interrupted switch-to-configuration would replay.
leftovers() {
  stat -c 'root=%N' -- "$root"/nix/var/nix/gcroots/nixdeploy/* 2> /dev/null
  for file in "$root"/run/nixos/*-list; do
    if [ -s "$file" ]; then say list "${file##*/}"; fi
  done
}

# switching: who holds switch-to-configuration's lock. Trying the lock could make a switch that
# starts just now fail, so the kernel is asked who has it, and then the processes who has it open
# (a lock taken by a helper that has ended, or in a container, is listed under no process).
switching() {
  lock=$root/run/nixos/switch-to-configuration.lock
  [ -e "$lock" ] || return 0
  # shellcheck disable=SC2046 # numbers
  set -- $(stat -c '%Hd %Ld %i' -- "$lock" 2> /dev/null)
  [ $# = 3 ] || return 0
  device=$(printf '%02x:%02x:%s' "$1" "$2" "$3")
  pid=$(awk -v file="$device" '$2 == "FLOCK" && $6 == file { print $5; exit }' "$root/proc/locks" 2> /dev/null)
  if [ -z "$pid" ] || [ ! -e "/proc/$pid" ]; then
    for file in /proc/[0-9]*/fd/*; do
      if [ "$file" -ef "$lock" ]; then pid=${file#/proc/} pid=${pid%%/*}; break; fi
    done
  fi
  if [ -n "$pid" ]; then
    say switch_pid "$pid"
    say switch_command "$(tr '\000-\037' ' ' < "/proc/$pid/cmdline" 2> /dev/null | head -c 300)"
  fi
}

# network: addresses, default routes, name servers, Tailscale.
network() {
  if has ip; then
    ip -o addr show scope global 2> /dev/null | awk '{ print "address=" $2, $4 }'
    { ip -o -4 route show default; ip -o -6 route show default; } 2> /dev/null | awk '{ print "route=" $0 }'
  fi
  while read -r key value _; do
    if [ "$key" = nameserver ]; then say nameserver "$value"; fi
  done < "$root/etc/resolv.conf"
  if has tailscale; then
    answer=$(timeout 2 tailscale status --json --peers=false 2> /dev/null)
    if [ $? = 124 ]; then answer='"BackendState":"timeout"'; fi
    answer=$(printf '%s\n' "$answer" | sed -n 's/^ *"BackendState": *"\([A-Za-z]*\)".*/\1/p' | head -n 1)
    say tailscale "${answer:-silent}"
  fi
}

# seat: whether somebody sits before a screen that we could take away.
seat() {
  active='' graphical=0
  for file in "$root"/run/systemd/seats/*; do
    [ -e "$file" ] || continue
    active=
    while IFS='=' read -r key value; do if [ "$key" = ACTIVE ]; then active=$value; fi; done < "$file"
    [ -n "$active" ] && [ -e "$root/run/systemd/sessions/$active" ] || continue
    while IFS='=' read -r key value; do
      case $key=$value in TYPE=x11 | TYPE=wayland | TYPE=mir) graphical=1 ;; esac
    done < "$root/run/systemd/sessions/$active"
  done
  say graphical $graphical
}

# trust: what the daemon thinks of the user who logged in; tools that later steps cannot miss.
trust() {
  say login "${SUDO_USER:-${USER:-}}"
  if [ -n "${SUDO_USER:-}" ]; then say groups "$(id -Gn -- "$SUDO_USER" 2> /dev/null)"; fi
  while read -r key _ value; do
    if [ "$key" = trusted-users ]; then say trusted_users "$value"; fi
  done < "$root/etc/nix/nix.conf"
  for name in systemd-run nix-store nix-env timeout flock journalctl; do
    if ! has "$name"; then say missing "$name"; fi
  done
}

# journal: where to read on from after the activation.
journal() {
  has journalctl || return 0
  journalctl -q -n 0 --show-cursor 2> /dev/null | sed -n 's/^-- cursor: /cursor=/p'
}

rest() {
  for reader in machine units space loader boot_limit system_links generations transactions \
    leftovers switching network seat trust journal; do
    $reader < /dev/null 2> /dev/null
  done
  say end 0
}

rest
