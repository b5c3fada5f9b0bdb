# Trial boot: the new system is started once, with the boot default left alone. Sourced (by
# concatenation) into the guard, before it.
#
# The entry is ours and goes away again. It is named to the loader for one start; systemd-boot
# forgets the name before it tries it, so whatever the new kernel does (hang, panic, lose power),
# the next start is the boot default. On its command line comes a dead-man: a timer, given as a
# credential (systemd.system-credentials(7), systemd.extra-unit.*; systemd 256), that reboots
# unless it is stopped.
# shellcheck shell=sh
# shellcheck disable=SC2154 # d, new, old, v, boot_dir: of the guard and of bootloader.sh
trial_id=nixdeploy-trial.conf

# trial: from hold; sets everything up and reboots. What fails is told, and nothing is left.
trial() {
  prepare || return 1
  val observe; trial_s=$v
  val commit; trial_s=$((trial_s + v + 180))
  if ! trial_refused=$(trial_set 2>&1); then
    trial_undone "${trial_refused:-the trial entry could not be written}"
    return 1
  fi
  rm -f "$reserve"
  phase trial "$trial_s"
  timeout 30 systemctl --no-block reboot
  case $? in 0 | 124) ;; *) trial_undone 'systemd would not reboot'; phase hold; return 1 ;; esac
  put outcome "outcome=trial"
  exit 0
}

trial_undone() { # WHY
  trial_clear
  put refused "$1"
  rm -f "$d/req.trial" "$reserve"
}

trial_set() {
  if ! boot_mount > /dev/null || [ ! -d "$boot_dir/loader/entries" ]; then echo 'no boot entries'; return 1; fi
  if ! command -v bootctl > /dev/null; then echo 'the running system has no bootctl'; return 1; fi
  trial_version=$("$new/sw/bin/systemctl" --version | sed -n 's/^systemd \([0-9]*\).*/\1/p')
  if [ "${trial_version:-0}" -lt 256 ]; then echo 'the new system has a systemd before 256'; return 1; fi
  mkdir -p "$boot_dir/EFI/nixdeploy" || return 1
  cp -L "$new/kernel" "$boot_dir/EFI/nixdeploy/kernel.efi" || return 1
  cp -L "$new/initrd" "$boot_dir/EFI/nixdeploy/initrd.efi" || return 1
  trial_options="init=$new/init $(cat "$new/kernel-params") panic=30 $(trial_dead_man)"
  # COMMAND_LINE_SIZE of x86 in Linux' arch/x86/include/asm/setup.h
  if [ ${#trial_options} -ge 2048 ]; then echo 'the command line would be too long'; return 1; fi
  printf '%s\n' 'title NixOS, tried once' 'linux /EFI/nixdeploy/kernel.efi' \
    'initrd /EFI/nixdeploy/initrd.efi' "options $trial_options" > "$boot_dir/loader/entries/$trial_id" || return 1
  sync -f "$boot_dir"
  val boot0
  if [ "$(boot_default)" != "$v" ]; then echo 'the trial entry would become the boot default'; return 1; fi
  bootctl set-oneshot "$trial_id" 2>&1 || return 1
}

# The units as credentials of systemd's command line.
trial_dead_man() {
  trial_unit timer "[Timer]\nOnBootSec=$trial_s\nAccuracySec=1s\n"
  trial_unit service '[Service]\nExecStart=/run/current-system/sw/bin/systemctl reboot --force\n'
  printf 'systemd.wants=nixdeploy-trial.timer'
}

trial_unit() { # SUFFIX TEXT
  printf 'systemd.set_credential_binary=systemd.extra-unit.nixdeploy-trial.%s:%s ' "$1" \
    "$(printf '[Unit]\nDefaultDependencies=no\n%b' "$2" | base64 -w 0)"
}

# trial_clear: entry, files and one-shot are gone.
trial_clear() {
  boot_mount > /dev/null || return 0
  [ -e "$boot_dir/loader/entries/$trial_id" ] || [ -e "$boot_dir/EFI/nixdeploy" ] || return 0
  rm -rf "$boot_dir/loader/entries/$trial_id" "$boot_dir/EFI/nixdeploy"
  bootctl set-oneshot '' > /dev/null 2>&1 || :
  sync -f "$boot_dir"
}
