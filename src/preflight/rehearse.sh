# What the new system says of itself before it is let loose: its own check, and which units it
# would touch. Run as root with $1 the toplevel on this host and $2 the seconds each may take.
# shellcheck shell=sh
set -u

# try ACTION: its output as ACTION=LINE, its status as ACTION_rc; 124 is "took too long".
try() {
  output=$(timeout -k 5 "$seconds" "$new/bin/switch-to-configuration" "$1" 2>&1 < /dev/null)
  rc=$?
  printf '%s\n' "$output" | head -c 262144 | awk -v key="$1" '{ print key "=" $0 }'
  printf '%s_rc=%s\n' "$1" "$rc"
  [ "$rc" = 0 ]
}

# checks_always: its own check comes before every action, so one that is passed was checked
# (nixpkgs, switch-to-configuration-ng: the wrapper sets PRE_SWITCH_CHECK). Older ones have none.
checks_always() { grep -qa PRE_SWITCH_CHECK "$new/bin/switch-to-configuration"; }

# no_way_back: units that are new or another than now, and declare that what they do cannot be
# taken back, each with its words.
no_way_back() {
  grep -ls '^X-NixdeployIrreversible=' "$new"/etc/systemd/system/*.service | while IFS= read -r file; do
    if cmp -s "$file" "$running/etc/systemd/system/${file##*/}"; then continue; fi
    awk -v unit="${file##*/}" '/^X-NixdeployIrreversible=/ { why = substr($0, index($0, "=") + 1) }
      END { print "irreversible=" unit ": " why }' "$file"
  done
}

# named FILE: files of the store that it names.
named() { grep -aoh '/nix/store/[0-9a-z]\{32\}-[A-Za-z0-9+._?=/-]*' "$1" | head -n 40; }

# ports TOPLEVEL: the lines about ports in what its firewall is made of, two files deep.
ports() {
  for unit in firewall nftables; do
    for first in $(named "$1/etc/systemd/system/$unit.service"); do
      [ -f "$first" ] || continue
      grep -ah dport "$first"
      for second in $(named "$first"); do
        [ -f "$second" ] && grep -ah dport "$second"
      done
    done
  done | sort -u
}

# opens KEY TOPLEVEL: who gets in, read from the files of a system as NixOS lays them out
# (nixpkgs, nixos/modules: sshd.nix, sudo.nix, users-groups.nix, firewall-*.nix); nothing of
# passwords is printed.
opens() {
  for unit in sshd.service sshd.socket firewall.service nftables.service; do
    for want in "$2"/etc/systemd/system/*.wants/"$unit"; do
      if [ -e "$want" ]; then echo "$1.on=$unit"; break; fi
    done
  done
  awk -v key="$1" 'tolower($1) == "match" { exit } /^[ \t]*[A-Za-z]/ { print key ".ssh=" $0 }' \
    "$2/etc/ssh/sshd_config"
  for file in "$2"/etc/ssh/authorized_keys.d/*; do
    [ -f "$file" ] && echo "$1.keys=${file##*/} $(grep -c '^[^#]' "$file")"
  done
  grep -h NOPASSWD "$2/etc/sudoers" | sed "s/^/$1.sudo=/"
  users=$(grep -aoh '/nix/store/[^ "]*-users-groups.json' "$2/activate" | head -n 1)
  if [ -f "$users" ]; then
    sed 's/.*"users":\[//' "$users" | grep -o '"name":"[^"]*"' | cut -d'"' -f4 | sed "s/^/$1.user=/"
    sed -n "s/.*\"members\":\[\([^]]*\)\],\"name\":\"wheel\".*/$1.wheel=\1/p" "$users"
  fi
  ports "$2" | sed "s/^/$1.port=/"
  echo "$1.end=0"
}

# services OLD NEW: services whose user or protections are not as they were, as they are in both.
services() {
  set -- "$1/etc/systemd/system" "$2/etc/systemd/system"
  old=$1
  set -- "$1"/*.service "$1"/*.service.d/*.conf "$2"/*.service "$2"/*.service.d/*.conf
  for file; do
    shift
    if [ -f "$file" ]; then set -- "$@" "$file"; fi
  done
  awk -v old="$old/" '
    FNR == 1 {
      side = index(FILENAME, old) == 1 ? "old" : "new"
      name = FILENAME
      sub(/\.d\/[^\/]*$/, "", name)
      sub(/.*\//, "", name)
      if (side == "new") names[name] = 1
    }
    /^(User|DynamicUser|Type|NoNewPrivileges|ProtectSystem|ProtectHome|PrivateTmp)=/ {
      said[side, name] = said[side, name] " " $1
    }
    /^ExecStart=./ { runs[side, name] = 1 }
    END {
      for (name in names) {
        if (!runs["new", name] || said["new", name] == said["old", name] && runs["old", name])
          continue
        if (runs["old", name]) print "old.unit=" name said["old", name]
        print "new.unit=" name said["new", name]
      }
    }' "$@" | sort
}

# told COMMAND...: its output, as much as is worth reading; it has no say in how this ends.
told() { "$@" 2> /dev/null | head -c 131072; }

# listed: the paths of its closure, for the guard to look through before it goes; where this lies
# beside one.
listed() {
  case $0 in /run/nixdeploy/*/rehearse) ;; *) return 0 ;; esac
  timeout 120 nix-store -qR "$new" > "${0%/*}/.closure.$$" && mv -f "${0%/*}/.closure.$$" "${0%/*}/closure"
}

# wishes: who wants which unit in the new system, and did not in the one that runs. They are
# started with the targets that want them, and dry-activate does not name them.
wishes() {
  for link in "$new"/etc/systemd/system/*.wants/* "$new"/etc/systemd/system/*.requires/*; do
    unit=${link##*/} folder=${link%/*} folder=${folder##*/}
    [ -L "$link" ] || continue
    [ -L "$running/etc/systemd/system/$folder/$unit" ] || echo "wish=${folder%.*} $unit"
  done
}

main() {
  new=${1:-} seconds=${2:-60}
  CDPATH='' cd -P -- /run/current-system || exit 3
  running=$PWD PATH=$PWD/sw/bin LC_ALL=C
  export PATH LC_ALL
  unset NIXOS_NO_CHECK NIXOS_INSTALL_BOOTLOADER
  cd /
  case $new in
    /nix/store/*/*) echo 'refused=no toplevel'; return 0 ;;
    /nix/store/*) ;;
    *) echo 'refused=no toplevel'; return 0 ;;
  esac
  echo nixdeploy-rehearsal=1
  listed > /dev/null 2>&1 < /dev/null &
  if [ ! -x "$new/bin/switch-to-configuration" ]; then
    echo refused=no switch-to-configuration
  elif checks_always; then
    if try dry-activate; then echo check_rc=0; else try check; fi
  elif try check || printf '%s\n' "$output" | grep -qi usage:; then
    try dry-activate
  fi
  no_way_back
  told opens old "$running"
  told opens new "$new"
  told services "$running" "$new"
  wishes
  wait
  echo end=0
}

main "$@"
