#!/bin/bash
# facts.sh POWER: prints what is true of the machine it runs in, key=value; run inside by state, with nothing but the machine's own files and systemd.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C
power=$1
profiles=/nix/var/nix/profiles
put() { printf '%s=%s\n' "$1" "$2"; }
real() { readlink -e "$1" || true; } # nothing when it dangles
list() { paste -sd, -; }

# first: when it is over, all that is read after it is what it left behind
if [ "$power" = on ]; then guard=$(systemctl show -P LoadState -P ActiveState nixdeploy-guard.service | paste -sd' ' -); fi
running=$(real /run/current-system)
etc=$(real /etc/static)
profile=$(real $profiles/system)
link=$(readlink $profiles/system)
put power "$power"
put running "$running"
put booted "$(real /run/booted-system)"
put etc "$etc"
# the toplevel whose etc it is: /etc/static itself names only the etc
toplevel=
if [ -n "$etc" ]; then
  for t in "$running" "$profile" "$(real /run/booted-system)" /nix/store/*-nixos-system-*; do
    if [ -n "$t" ] && [ "$(real "$t/etc")" = "$etc" ]; then toplevel=$t; break; fi
  done
fi
put etc_toplevel "$toplevel"
put profile "$profile"
put profile_link "$link"
put generation "$(sed -nE 's/^system-([0-9]+)-link$/\1/p' <<< "$link")"
put generations "$(find $profiles -maxdepth 1 -name 'system-*-link' | sed -E 's/.*system-([0-9]+)-link$/\1/' | sort -n | list)"

# the entry that the firmware would choose, a one-shot one aside
entries=/boot/loader/entries
default=$(sed -n 's/^default //p' /boot/loader/loader.conf 2>/dev/null | tail -n 1)
entry=$entries/$default
if [ -z "$default" ] || [ ! -e "$entry" ]; then entry=$(find $entries -name '*.conf' 2>/dev/null | sort -V | tail -n 1); fi
init=
[ -z "$entry" ] || init=$(sed -nE 's/^options (.* )?init=([^ ]+).*/\2/p' "$entry")
put boot_default "${init%/init}"
put boot_entries "$(find $entries -name '*.conf' 2>/dev/null | wc -l)"
put boot_oneshot "$(head -n 1 /boot/loader/oneshot 2>/dev/null)"
n=$(grep -c . /var/log/lab-bootloader.log 2>/dev/null)
put bootloader_installs "${n:-0}"
# with their bytes; full is what a test fills it with
put boot_files "$(find /boot -type f ! -path /boot/full -printf '%P:%s\n' | sort | list)"

if [ "$power" = on ]; then
  mapfile -t services < <(systemctl list-units --type=service --state=active --plain --no-legend --full | awk '{ print $1 }')
  put units_active "$(systemctl show -p Id -p FragmentPath "${services[@]}" \
    | awk -F= '$1 == "Id" { id = $2 } $1 == "FragmentPath" { path = $2 } /^$/ { out() } END { out() }
      function out() { if (path ~ "^/etc/(static/)?systemd/system/") print id; id = path = "" }' | sort | list)"
  put units_failed "$(systemctl list-units --state=failed --plain --no-legend --full | awk '{ print $1 }' | sort | list)"
  case $guard in *not-found*) put guard absent ;; *) put guard "${guard#loaded }" ;; esac
  put system "$(systemctl is-system-running)"
  put boot_id "$(cat /proc/sys/kernel/random/boot_id)"
  put default_route "$(ip -4 route show default | awk '{ print $3 }' | list)"
else
  for k in units_active units_failed guard system boot_id default_route; do put $k ""; done
fi
put nameservers "$(sed -n 's/^nameserver //p' /etc/resolv.conf 2>/dev/null | list)"
put roots "$(find /nix/var/nix/gcroots/nixdeploy -mindepth 1 -type l -printf '%P->%l\n' 2>/dev/null | sort | list)"
put reserve "$(find /nix/var/nix -maxdepth 1 -name nixdeploy-reserve)"
put run_nixdeploy "$(find /run/nixdeploy -mindepth 1 -printf '%P\n' 2>/dev/null | sort | list)"
