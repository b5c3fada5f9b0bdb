# The boot default as a store path: sourced (by concatenation) into facts.sh, guard.sh and
# verify.sh. Never a file name: builders name entries by content, boot counting renames them.
# Needs PATH; prints the toplevel whose init the loader would start, or nothing when it cannot
# be told. Reads only. boot_root is a prefix for tests, empty on a host.
# shellcheck shell=sh
boot_root=${boot_root:-}

# boot_mount: where the loader's files are.
boot_mount() {
  for boot_dir in "$boot_root"/boot "$boot_root"/efi "$boot_root"/boot/efi; do
    if [ -e "$boot_dir/loader/loader.conf" ] || [ -d "$boot_dir/grub" ] || [ -d "$boot_dir/extlinux" ]; then
      printf '%s\n' "$boot_dir"
      return 0
    fi
  done
  return 1
}

# boot_overridden: EFI variables that go before loader.conf (bootctl set-default, set-oneshot).
boot_overridden() {
  for boot_key in OneShot Default Preferred; do
    if [ -e "$boot_root/sys/firmware/efi/efivars/LoaderEntry$boot_key-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" ]; then
      return 0
    fi
  done
  return 1
}

# boot_init WORDS: the toplevel of the last init= among kernel parameters, in $boot_found.
boot_init() {
  case " $1" in *' init=/nix/store/'*) ;; *) return 1 ;; esac
  boot_found=" $1"
  boot_found=${boot_found##* init=}
  boot_found=${boot_found%% *}
  case $boot_found in /nix/store/*/init) boot_found=${boot_found%/init} ;; *) boot_found=; return 1 ;; esac
}

# boot_default_plain: the answer in $boot_found, without starting any program, when loader.conf
# names one entry, no EFI variable overrides it and no second entry fits the name.
boot_default_plain() {
  boot_found='' boot_conf='' boot_pattern='' boot_file=''
  for boot_dir in "$boot_root"/boot "$boot_root"/efi "$boot_root"/boot/efi; do
    if [ -e "$boot_dir/loader/loader.conf" ]; then boot_conf=$boot_dir/loader/loader.conf; break; fi
  done
  if [ -z "$boot_conf" ] || boot_overridden; then return 1; fi
  while read -r boot_key boot_value; do
    case $boot_key in default) boot_pattern=$boot_value ;; preferred) return 1 ;; esac
  done < "$boot_conf"
  [ -n "$boot_pattern" ] || return 1
  for boot_entry in "$boot_dir"/loader/entries/*.conf "$boot_dir"/EFI/Linux/*.efi; do
    boot_fits "$boot_entry" || continue
    [ -z "$boot_file" ] || return 1
    boot_file=$boot_entry
  done
  case $boot_file in *.conf) ;; *) return 1 ;; esac
  boot_value=
  while read -r boot_key boot_line || [ -n "$boot_key" ]; do
    if [ "$boot_key" = options ]; then boot_value="$boot_value $boot_line"; fi
  done < "$boot_file"
  boot_init "$boot_value"
}

# boot_fits FILE: whether it is there and its id fits $boot_pattern; counters (+3-1) are no part
# of an id.
boot_fits() {
  [ -e "$1" ] || return 1
  boot_id=${1##*/} boot_end=${1##*.}
  boot_id=${boot_id%.*}
  case $boot_id in *+[0-9]*) boot_id=${boot_id%+*} ;; esac
  # shellcheck disable=SC2254 # a pattern is wanted
  case $boot_id.$boot_end in $boot_pattern | $boot_pattern.conf) return 0 ;; esac
  return 1
}

# boot_default_bootctl: what systemd-boot itself would choose, EFI variables included.
boot_default_bootctl() {
  [ -d "$boot_root/sys/firmware/efi/efivars" ] && command -v bootctl > /dev/null 2>&1 || return 1
  boot_json=$(timeout 20 bootctl list --json=short --no-pager 2> /dev/null < /dev/null) || return 1
  boot_entry=$(printf '%s\n' "$boot_json" | sed 's/},{/}\n{/g' | grep '"isDefault":true' | head -n 1)
  boot_init "$(printf '%s\n' "$boot_entry" | sed -n 's/.*"options":"\([^"]*\)".*/\1/p')" || return 1
  printf '%s\n' "$boot_found"
}

# boot_choice DIR: the entry file that loader.conf's pattern chooses; the newest of several.
boot_choice() {
  for boot_file in "$1"/loader/entries/*.conf "$1"/EFI/Linux/*.efi; do
    boot_fits "$boot_file" || continue
    boot_version=
    case $boot_file in
      *.conf) boot_version=$(sed -n 's/^version[[:space:]]\{1,\}//p' "$boot_file" | head -n 1) ;;
      *) boot_version=$boot_id ;;
    esac
    printf '%s\t%s\n' "$boot_version" "$boot_file"
  done | sort -V | tail -n 1 | cut -f 2
}

# boot_alone FILE: whether the chosen image is the only one of its generation. Lanzaboote makes one
# for each specialisation too, and which of them comes first is not told by their names.
boot_alone() {
  case $1 in */nixos-generation-*) ;; *) return 0 ;; esac
  boot_number=${1##*/nixos-generation-}
  boot_number=${boot_number%%[!0-9]*}
  set -- "${1%/*}/nixos-generation-$boot_number"[!0-9]*.efi
  [ $# -le 1 ]
}

# boot_default_files: systemd-boot's choice from its files alone.
boot_default_files() {
  boot_dir=$(boot_mount) && [ -e "$boot_dir/loader/loader.conf" ] || return 1
  # a variable goes before every file, and only bootctl can tell which entry it names
  if boot_overridden; then return 1; fi
  boot_chosen=
  for boot_key in preferred default; do
    boot_pattern=$(sed -n "s/^${boot_key}[[:space:]]\{1,\}//p" "$boot_dir/loader/loader.conf" | tail -n 1)
    [ -z "$boot_pattern" ] || boot_chosen=$(boot_choice "$boot_dir")
    [ -z "$boot_chosen" ] || break
  done
  if [ -z "$boot_chosen" ]; then # nothing fits: the loader takes the newest
    boot_pattern='*'
    boot_chosen=$(boot_choice "$boot_dir")
  fi
  case $boot_chosen in
    *.conf) boot_init "$(sed -n 's/^options[[:space:]]\{1,\}//p' "$boot_chosen" | tr '\n' ' ')" ;;
    *.efi)
      boot_words=$(grep -aom1 'init=/nix/store/[^ ]*/init' "$boot_chosen" | head -n 1)
      boot_alone "$boot_chosen" && boot_init "$boot_words"
      ;;
    *) return 1 ;;
  esac || return 1
  printf '%s\n' "$boot_found"
}

# boot_default_grub: the entry of grub.cfg that its default numbers, from 0 on; a submenu counts as
# one. One by its title, a remembered one (grub-set-default) and a single one (grub-reboot) are not
# told, nor is an entry that starts something else, as of extraEntriesBeforeNixOS.
boot_default_grub() {
  boot_dir=$(boot_mount) && [ -e "$boot_dir/grub/grub.cfg" ] || return 1
  if grep -aqs '^next_entry=.' "$boot_dir/grub/grubenv"; then return 1; fi
  boot_init "$(awk '
    BEGIN { want = "0" }
    { sub(/^[ \t]+/, ""); sub(/[ \t]+$/, "") }
    /^set default=/ && !/next_entry/ { want = substr($0, 13); gsub(/["\047]/, "", want) }
    /^(menuentry|submenu)[ \t]/ && deep == 0 {
      if (want !~ /^[0-9]+$/) exit
      here = (met++ == want)
      if (here && /^submenu/) exit
    }
    here && / init=/ { print; exit }
    /[{]$/ { deep++ }
    /^[}]$/ { deep--; if (here && deep == 0) exit }' "$boot_dir/grub/grub.cfg")" || return 1
  printf '%s\n' "$boot_found"
}

# boot_default_extlinux: the entry that DEFAULT names; ONTIMEOUT is the same to U-Boot.
boot_default_extlinux() {
  boot_dir=$(boot_mount) && [ -e "$boot_dir/extlinux/extlinux.conf" ] || return 1
  boot_init "$(awk '
    toupper($1) == "DEFAULT" || toupper($1) == "ONTIMEOUT" { chosen = $2 }
    toupper($1) == "LABEL" { here = $2 }
    toupper($1) == "APPEND" && here == chosen { print; exit }' "$boot_dir/extlinux/extlinux.conf")" || return 1
  printf '%s\n' "$boot_found"
}

boot_default() {
  if boot_default_plain; then
    printf '%s\n' "$boot_found"
    return 0
  fi
  boot_default_bootctl || boot_default_files || boot_default_grub || boot_default_extlinux || true
}
