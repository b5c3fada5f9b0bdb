# Shared by the lab's commands. Settings, all from the environment:
#   LAB_DIR            state of one lab            (/tmp/nixdeploy-lab)
#   LAB_CACHE          base tree and images, shared by every lab   (/tmp/nixdeploy-lab-cache)
#   LAB_NIXPKGS_LIB    nixpkgs.lib to evaluate with, a directory with flake.nix or a git
#                      directory (none: minilib, which gives the same derivations)
#   LAB_SHARE          shown as /srv/share on the deployer ($LAB_DIR/share)
#   LAB_DISK_MIB       disk of a machine: root changes and /nix (2048; sparse)
#   LAB_BOOT_MIB       its /boot (96)
#   LAB_SUITE, LAB_MIRROR, LAB_APT_OPTS   Debian suite and mirror for the base tree, options of apt-get update
# shellcheck shell=bash disable=SC2034
set -euo pipefail
export LC_ALL=C

LAB_HOME=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
: "${LAB_DIR:=/tmp/nixdeploy-lab}" "${LAB_CACHE:=/tmp/nixdeploy-lab-cache}"
: "${LAB_DISK_MIB:=2048}" "${LAB_BOOT_MIB:=96}" "${LAB_SUITE:=trixie}" "${LAB_MIRROR:=}" "${LAB_APT_OPTS:=}"
: "${LAB_SHARE:=$LAB_DIR/share}"
export LAB_DIR LAB_CACHE LAB_DISK_MIB LAB_BOOT_MIB LAB_SHARE

TAG=$(printf %s "$LAB_DIR" | md5sum | cut -c1-6)   # one lab per LAB_DIR on a machine
NET=lab-$TAG                                       # its network namespace
MACHINES=$LAB_DIR/m                                # one directory a machine
FACTORY=$LAB_DIR/factory                           # the images this lab's machines start from
BASE=$LAB_DIR/base                                 # link to the base tree in the cache
PREFIX=10.99                                       # machines are $PREFIX.0.0/16
GATEWAY=$PREFIX.0.1                                # the bridge: default route and resolver

die() { echo "lab: $*" >&2; exit 1; }
note() { echo "lab: $*" >&2; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }
need_root() { [ "$EUID" = 0 ] || die "needs root"; }
need_lab() { [ -d "$MACHINES" ] || die "no lab is up in $LAB_DIR (LAB_DIR=... $LAB_HOME/up N)"; }

# names and addresses -----------------------------------------------------------
FLEET=(p620 p510 razer dex5550 samsung)
host_name() { # 1.. -> name
  if [ "$1" -le ${#FLEET[@]} ]; then echo "${FLEET[$1 - 1]}"; else printf 'h%02d\n' "$1"; fi
}
host_address() { # deployer: .0.2, host i: .0.(11+i), going on in the next /24s
  case $1 in deployer) echo $PREFIX.0.2 ;; *) echo $PREFIX.$((($2 + 10) / 250)).$((($2 + 10) % 250 + 1)) ;; esac
}
ssh_user() { # whom the deployer logs in as; samsung has no root login
  case $1 in samsung) echo admin ;; *) echo root ;; esac
}
all_machines() { need_lab; cat "$LAB_DIR/names"; }   # deployer first

# machines ----------------------------------------------------------------------
dir() { need_lab; [ -d "$MACHINES/$1" ] || die "no machine $1"; echo "$MACHINES/$1"; }
alive() { # a zombie is dead
  local s
  [ -n "${1:-}" ] && read -r _ _ s _ 2>/dev/null < "/proc/$1/stat" && [ "$s" != Z ]
}
# A number may be somebody else's by the time it is read: with it is kept when its process began (proc_pid_stat(5), field 22).
began() { local s; { read -r -a s < "/proc/$1/stat"; } 2>/dev/null && echo "${s[21]}"; }
write_pid() { echo "$1 $(began "$1" || true)" > "$2"; } # PID FILE
written_pid() { # FILE: the process written there, while it lives
  local p start
  { read -r p start < "$1"; } 2>/dev/null && [ -n "$start" ] && [ "$(began "$p")" = "$start" ] && alive "$p" && echo "$p"
}
launcher_pid() { written_pid "$MACHINES/$1/pid" || true; }
init_pid() { # the machine's PID 1 as seen here
  local n p
  n=$(written_pid "$MACHINES/$1/nspawn.pid") || return 1
  for p in $(pgrep -P "$n"); do
    [ "$(awk '/^NSpid/ { print $NF }' "/proc/$p/status" 2>/dev/null)" = 1 ] && { echo "$p"; return; }
  done
  return 1
}
in_net() { nsenter --net="/run/netns/$NET" -- "$@"; }
link_of() { echo "vb-$1"; }

# Run a command in a machine, network or not. The shell forks for it: nsenter(1) stops itself when its child is
# stopped, as systemd-shutdown(8) stops all before it kills them, and then never takes leave of the dead, without
# which the machine's PID 1 cannot go. That shell is outside the machine's processes: none of its own commands may run.
inside() {
  local p
  p=$(init_pid "$1") || die "$1 is off"
  shift
  nsenter --target "$p" --mount --uts --ipc --net --pid --cgroup --root --no-fork -- \
    /bin/sh -c '/usr/bin/env "$@"; exit $?' door -i -C /root HOME=/root USER=root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/srv/share "$@"
}

# is sshd of the machine answering? (seen from the fleet's bridge)
ssh_answers() { in_net timeout 1 bash -c "exec 3<>/dev/tcp/$(cat "$MACHINES/$1/address")/22 && read -r -t 1 _ <&3" 2>/dev/null; }
wait_ssh() { # NAME SECONDS
  local end=$(($(date +%s) + $2))
  until ssh_answers "$1"; do
    [ "$(date +%s)" -lt $end ] || return 1
    alive "$(launcher_pid "$1")" || return 1
    sleep 0.05
  done
}

# is it on? An answer comes when it is one or the other: a machine that reboots or has just
# died is neither, until it runs again or the kernel has let go of its images
is_on() {
  local end=$(($(date +%s) + 30))
  until init_pid "$1" >/dev/null; do
    if ! alive "$(launcher_pid "$1")" && ! attached "$MACHINES/$1"; then return 1; fi
    [ "$(date +%s)" -lt $end ] || die "$1 is neither on nor off"
    sleep 0.02
  done
}

# start the launcher of a machine, detached
power_on() {
  local d=$MACHINES/$1
  if is_on "$1"; then die "$1 is already on"; fi
  rm -f "$d/nspawn.pid" "$d/panic"
  setsid unshare --mount --propagation private \
    nsenter --net="/run/netns/$NET" -- "$LAB_HOME/machine" "$1" > "$d/launcher.log" 2>&1 < /dev/null &
  write_pid $! "$d/pid"
  disown
}

attached() { # a loop device holds an image of this machine's directory
  local f image
  for f in /sys/block/loop*/loop/backing_file; do # it may go while it is read, which ends a shell at $(< "$f")
    if { read -r image < "$f"; } 2>/dev/null && [[ $image == "$1"/*.img* ]]; then return 0; fi
  done
  return 1
}

# every process of a machine, whoever its parent is (0 is one that has just died; to kill(1) it is our own group)
members() {
  local root
  for root in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    if [ -d "$root/$NET/$1" ]; then find "$root/$NET/$1" -name cgroup.procs -exec cat {} + 2>/dev/null; fi
  done | awk '$1 > 0 && !seen[$1]++'
}

# what keeps a machine that does not stop: NAME LAUNCHER
left_of() {
  if alive "$2"; then note "its launcher $2 lives"; fi
  if attached "$MACHINES/$1"; then note "an image of it is attached"; fi
  members "$1" | xargs -r ps -o pid=,ppid=,stat=,wchan:24=,etime=,args= -p | cut -c1-200 >&2
}

# A closed connection whose other end does not answer keeps a network namespace for minutes, and with it the
# host end of the cable, beside which no other can be made. Not cgroup.kill: after it Linux 6.18 kills what is forked later.
unplug() { ip -n "$NET" link del "$(link_of "$1")" 2>/dev/null || true; }

# pull the plug: no signal reaches the machine's processes but KILL
power_off() {
  local d=$MACHINES/$1 l end
  l=$(launcher_pid "$1")
  if [ -n "$l" ]; then kill -KILL "$l" 2>/dev/null || true; fi # it may not be in its cgroup yet
  end=$(($(date +%s) + 30))
  # its mounts go after its processes: until then the kernel still writes to the images
  while members "$1" | xargs -r kill -KILL 2>/dev/null || true; alive "$l" || attached "$d"; do
    [ "$(date +%s)" -lt $end ] || { left_of "$1" "$l"; die "$1 does not stop"; }
    sleep 0.02
  done
  unplug "$1"
  rm -f "$d/pid" "$d/nspawn.pid"
}

# every machine in a cgroup of its own, whichever layout this kernel was booted with
enter_cgroup() {
  local root
  for root in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
    [ -e "$root/cgroup.procs" ] || continue
    mkdir -p "$root/$NET/$1" && echo $$ > "$root/$NET/$1/cgroup.procs"
  done
}

# disks -------------------------------------------------------------------------
# what mounts an image unmounts it too; left to the end of its process, the kernel does it some time later
# the factory disk and /boot for a machine that is off, and its own part of the root
factory_disk() { # NAME
  local h=$1 d=$MACHINES/$1
  rm -f "$d/disk.img" "$d/boot.img"
  cp --sparse=always "$FACTORY/disk.img" "$d/disk.img"
  cp --sparse=always "$FACTORY/boot.img" "$d/boot.img"
  rm -f "$d/cut" "$d/slow" "$d/panic"
  if [ "$h" = deployer ]; then # room for every host's closures
    truncate -s "$((LAB_DISK_MIB * 4))M" "$d/disk.img"
    local log
    log=$(e2fsck -fp "$d/disk.img" 2>&1 && resize2fs "$d/disk.img" 2>&1) || die "disk of $h: $log"
  fi
  unshare --mount --propagation private bash -euc '
    h=$1 d=$2 lab=$3 base=$4 user=$5
    mount -o loop "$d/disk.img" "$d/disk"
    u=$d/disk/upper
    mkdir -p "$u/etc/lab/sshd_config.d" "$u/etc/ssh" "$u/root/.ssh" "$u/home/admin/.ssh"
    echo "$(cat "$d/address")/16" > "$u/etc/lab/address"
    cp "$lab/hosts" "$u/etc/hosts"
    tr -d - < "$d/uuid" > "$u/etc/machine-id"
    cp "$d/host_key" "$u/etc/ssh/ssh_host_ed25519_key"; cp "$d/host_key.pub" "$u/etc/ssh/ssh_host_ed25519_key.pub"
    chmod 600 "$u/etc/ssh/ssh_host_ed25519_key"
    cp "$lab/key.pub" "$u/root/.ssh/authorized_keys"; cp "$lab/key.pub" "$u/home/admin/.ssh/authorized_keys"
    chmod 700 "$u/root" "$u/root/.ssh" "$u/home/admin/.ssh"
    chown -R --reference="$base/home/admin" "$u/home/admin"
    [ "$user" = root ] || echo "PermitRootLogin no" > "$u/etc/lab/sshd_config.d/no-root.conf"
    if [ "$h" = deployer ]; then
      cp "$lab/key" "$u/root/.ssh/id_ed25519"; chmod 600 "$u/root/.ssh/id_ed25519"
      cp "$lab/ssh_config" "$u/root/.ssh/config"
      cp "$lab/known_hosts" "$u/root/.ssh/known_hosts"
      printf "[user]\n\tname = lab\n\temail = lab@deployer\n[init]\n\tdefaultBranch = main\n[safe]\n\tdirectory = *\n" > "$u/root/.gitconfig"
      mkdir -p "$u/root/flake"
      cp -a "$lab/flake/." "$u/root/flake/"
      chown -R root:root "$u/root"
    fi
    umount "$d/disk"' - "$h" "$d" "$LAB_DIR" "$BASE" "$(ssh_user "$h")"
}

# the deployer's flake becomes a git repository
commit_flake() {
  inside deployer bash -euc '
    cd /root/flake
    git init -q; git add -A
    nix flake lock --offline 2>/dev/null; git add -A
    git commit -qm "fleet"'
}
