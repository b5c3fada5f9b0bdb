# How the host reaches others and is reached, as lines to compare: the guard holds what is there
# after a way back against what hold wrote down. Needs PATH and the transaction's folder in $d.
# shellcheck shell=sh
# shellcheck disable=SC2154 # d: of hold.sh and guard.sh

# links: the devices that count, written down once: real ones, and those that the default routes
# lead over. Bridges and links that services make come and go by themselves.
links() {
  for link in /sys/class/net/*; do
    if [ -e "$link/device" ]; then printf '%s\n' "${link##*/}"; fi
  done
  ip -4 route show default 2> /dev/null < /dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p'
}

# signature PORT: a line for each IPv4 address of those devices (by its value only when it is no
# lease), default route and name server, and one when something listens on PORT.
signature() {
  ip -o -4 address show scope global 2> /dev/null < /dev/null | awk '
    now == "" { counts[$1]; next }
    $2 in counts { print "address", / dynamic / ? "by lease" : $4, "of", $2 }' "$d/links" now=1 -
  ip -4 route show default 2> /dev/null < /dev/null | awk '{
    line = "default route"
    for (i = 2; i < NF; i++) if ($i == "via" || $i == "dev") line = line " " $i " " $(i + 1)
    print line
  }'
  while read -r key value _; do
    if [ "$key" = nameserver ]; then printf 'name server %s\n' "$value"; fi
  done 2> /dev/null < /etc/resolv.conf
  # proc_net_tcp(5): hexadecimal port behind the local address; state 0A is listening
  awk -v port=":$(printf '%04X' "$1")$" -v said="listener on port $1" '
    $2 ~ port && $4 == "0A" { print said; exit }' /proc/net/tcp /proc/net/tcp6 2> /dev/null
}
