# The boot default as a store path: sourced (by concatenation) into facts.sh, guard.sh and
# verify.sh. Never a file name: builders name entries by content, boot counting renames them.
# Needs PATH; prints the toplevel whose init the loader would start, or nothing when it cannot
# be told. Reads only.

# boot_mount: where the loader's files are.
boot_mount() {
  for boot_dir in /boot /efi /boot/efi; do
    if [ -e "$boot_dir/loader/loader.conf" ] || [ -d "$boot_dir/grub" ]; then
      printf '%s\n' "$boot_dir"
      return 0
    fi
  done
  return 1
}

# toplevel_of_options WORD...: the store path in init=.
toplevel_of_options() {
  for boot_word in "$@"; do
    case $boot_word in
      init=/nix/store/*/init) boot_word=${boot_word#init=}; printf '%s\n' "${boot_word%/init}"; return 0 ;;
    esac
  done
  return 1
}

# boot_default_bootctl: what systemd-boot itself would choose, EFI variables included.
boot_default_bootctl() {
  [ -d /sys/firmware/efi/efivars ] && command -v bootctl > /dev/null 2>&1 || return 1
  boot_json=$(bootctl list --json=short --no-pager 2> /dev/null) || return 1
  boot_entry=$(printf '%s\n' "$boot_json" | sed 's/},{/}\n{/g' | grep '"isDefault":true' | head -n 1)
  boot_options=$(printf '%s\n' "$boot_entry" | sed -n 's/.*"options":"\([^"]*\)".*/\1/p')
  # shellcheck disable=SC2086 # the options are words
  toplevel_of_options $boot_options
}

# boot_choice DIR: the entry file that loader.conf's pattern chooses; the newest of several.
boot_choice() {
  boot_pattern=$(sed -n 's/^default[[:space:]]\{1,\}//p' "$1/loader/loader.conf" 2> /dev/null | tail -n 1)
  boot_pattern=${boot_pattern%.conf}
  for boot_file in "$1"/loader/entries/*.conf; do
    [ -e "$boot_file" ] || continue
    boot_id=${boot_file##*/}
    # shellcheck disable=SC2254 # a pattern is wanted
    case ${boot_id%.conf} in
      ${boot_pattern:-*})
        boot_version=$(sed -n 's/^version[[:space:]]\{1,\}//p' "$boot_file" | head -n 1)
        printf '%s\t%s\n' "$boot_version" "$boot_file"
        ;;
    esac
  done | sort -V | tail -n 1 | cut -f 2
}

# boot_default_files: systemd-boot's choice from its files alone.
boot_default_files() {
  boot_dir=$(boot_mount) && [ -e "$boot_dir/loader/loader.conf" ] || return 1
  boot_chosen=$(boot_choice "$boot_dir")
  if [ -z "$boot_chosen" ]; then # nothing matches: the loader takes the newest
    boot_chosen=$(find "$boot_dir/loader/entries" -name '*.conf' | sort -V | tail -n 1)
  fi
  [ -n "$boot_chosen" ] || return 1
  # shellcheck disable=SC2046 # the options are words
  toplevel_of_options $(sed -n 's/^options[[:space:]]\{1,\}//p' "$boot_chosen")
}

boot_default() {
  boot_default_bootctl || boot_default_files || true
}
