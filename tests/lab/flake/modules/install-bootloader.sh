# shellcheck shell=bash disable=SC2154
# $1: the toplevel that becomes the default. As NixOS's systemd-boot builder:
# entries exist only for generations of the system profile, stale ones go
# first, and a toplevel that is no generation leaves the default as it was.
set -euo pipefail
default=$(readlink -f "$1")
export PATH=/usr/bin:/bin
profiles=/nix/var/nix/profiles
# every run is counted, also one that fails
echo "$default $(date -u +%FT%TZ)" >> /var/log/lab-bootloader.log || true
hook() { [ ! -x /etc/lab/hook ] || /etc/lab/hook "$1" "${NIXOS_ACTION:-}" "$default"; } # as in switch-to-configuration
hook boot-write
[ "$HANGS" = 0 ] || sleep "$HANGS"
if [ -n "$FAILS" ]; then echo "install-systemd-boot: lab.bootloaderFails" >&2; exit 1; fi
mkdir -p "$ESP/EFI/nixos" "$ESP/loader/entries"

mapfile -t gens < <(find "$profiles" -maxdepth 1 -name 'system-*-link' -printf '%f\n' \
  | sed -E 's/^system-([0-9]+)-link$/\1/' | sort -n)
(( LIMIT > 0 && ${#gens[@]} > LIMIT )) && gens=("${gens[@]: -LIMIT}")

efi_name() { local p; p=$(readlink -f "$1"); p=${p#/nix/store/}; echo "${p//\//-}.efi"; }

declare -A keep=()
for g in "${gens[@]}"; do
  top=$(readlink -f "$profiles/system-$g-link")
  keep[loader/entries/nixos-generation-$g.conf]=1
  keep[EFI/nixos/$(efi_name "$top/kernel")]=1
  keep[EFI/nixos/$(efi_name "$top/initrd")]=1
done
for f in "$ESP"/loader/entries/nixos-generation-*.conf "$ESP"/EFI/nixos/*; do
  [ -e "$f" ] && [ -z "${keep[${f#"$ESP"/}]:-}" ] && rm -f "$f"
done

put() { # SRC DST, whole or not at all
  [ -e "$2" ] && return 0
  cp "$1" "$2.tmp" || { rm -f "$2.tmp"; return 1; }
  mv -f "$2.tmp" "$2"
}

is=
for g in "${gens[@]}"; do
  top=$(readlink -f "$profiles/system-$g-link")
  k=EFI/nixos/$(efi_name "$top/kernel") i=EFI/nixos/$(efi_name "$top/initrd")
  put "$top/kernel" "$ESP/$k"
  put "$top/initrd" "$ESP/$i"
  printf 'title NixOS\nsort-key nixos\nversion Generation %s %s\nlinux /%s\ninitrd /%s\noptions init=%s/init %s\n' \
    "$g" "$(cat "$top/nixos-version")" "$k" "$i" "$top" "$(cat "$top/kernel-params")" \
    > "$ESP/loader/entries/nixos-generation-$g.conf.tmp"
  mv -f "$ESP/loader/entries/nixos-generation-$g.conf.tmp" "$ESP/loader/entries/nixos-generation-$g.conf"
  if [ "$top" = "$default" ]; then is=$g; fi
done
hook boot-default
[ "$SLOW" = 0 ] || { sync -f "$ESP"; sleep "$SLOW"; }
if [ -n "$is" ]; then
  printf 'timeout 5\ndefault nixos-generation-%s.conf\nconsole-mode keep\n' "$is" > "$ESP/loader/loader.conf.tmp"
  mv -f "$ESP/loader/loader.conf.tmp" "$ESP/loader/loader.conf"
fi
sync -f "$ESP"
hook boot-done
[ "$LATE" = 0 ] || sleep "$LATE"
