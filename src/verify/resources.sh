# shellcheck shell=sh
# Memory, load, file systems, and what the journal complains of. Needs PATH, and bootloader.sh
# before it; reads only.

resources_checks() {
  awk '/^MemTotal:/ { print "memory_total_kib=" $2 }
    /^MemAvailable:/ { print "memory_available_kib=" $2 }' /proc/meminfo
  put load "$(cut -d ' ' -f 1 /proc/loadavg)"
  put cpus "$(nproc)"
  resources_boot=$(boot_mount) || resources_boot=/boot
  # one that is missing is no fault: df tells of the others
  df -Pk / /nix "$resources_boot" 2> /dev/null |
    awk 'NR > 1 && !seen[$6]++ { print "disk=" $2, $4, $6 }' || true
}

# resources_journal CURSOR: entries of priority err and worse since then, the first 200.
resources_journal() {
  [ -n "$1" ] || return 0
  put section journal
  journalctl --no-pager -q -o json --all -p err --after-cursor="$1" \
    --output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER < /dev/null 2> /dev/null |
    head -n 200 | head -c 262144
  echo
  put section end
}
