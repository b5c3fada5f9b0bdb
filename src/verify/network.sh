# shellcheck shell=sh
# How the host reaches others: default routes, addresses, its resolver, Tailscale. That others
# reach it is proven by the connection that carries this. Needs PATH; reads only.

# network_names: hosts that the configuration itself relies on: the substituters of nix.conf.
network_names() {
  sed -n 's/^\(extra-\)\{0,1\}substituters *= *//p' /etc/nix/nix.conf 2> /dev/null | tr ' ' '\n' |
    sed -n 's|^https\{0,1\}://\([A-Za-z0-9][A-Za-z0-9.-]*\).*|\1|p' | head -n 4
}

# network_resolves NAME: whether the name servers of resolv.conf know it. Past /etc/hosts and
# caches on purpose: these go on answering when the resolver is gone.
network_resolves() {
  RES_OPTIONS='timeout:2 attempts:2' timeout 5 \
    getent -s hosts:dns ahosts "$1" < /dev/null > /dev/null 2>&1
}

# network_dns TRIES NAME...: `dns=NAME` for each that resolves, all at once. Answers are datagrams:
# two that got lost, or a resolver that is just being restarted, must not condemn a host.
network_dns() {
  network_tries=$1
  shift
  for network_name in "$@"; do
    {
      network_try=1
      until network_resolves "$network_name"; do
        network_try=$((network_try + 1))
        [ "$network_try" -le "$network_tries" ] || exit 0
        sleep 1
      done
      put dns "$network_name"
    } &
  done
  wait
}

# network_tailscale: `tailscale=` the state of its backend, or absent, timeout, unknown.
network_tailscale() {
  command -v tailscale > /dev/null 2>&1 || { put tailscale absent; return 0; }
  network_rc=0
  network_json=$(timeout 3 tailscale status --json --peers=false < /dev/null 2> /dev/null) ||
    network_rc=$?
  network_state=$(printf '%s\n' "$network_json" |
    sed -n 's/^.*"BackendState": *"\([A-Za-z]*\)".*$/\1/p' | head -n 1)
  if [ "$network_rc" = 124 ]; then network_state=timeout; fi
  put tailscale "${network_state:-unknown}"
}

# network_checks TRIES NAME...: everything; how often each name may be asked for, and names.
network_checks() {
  put route4 "$(ip -4 route show default < /dev/null 2> /dev/null | head -n 1)"
  put route6 "$(ip -6 route show default < /dev/null 2> /dev/null | head -n 1)"
  ip -o -4 address show scope global < /dev/null 2> /dev/null |
    awk '{ print "address=" $4 }' | head -n 64
  network_tailscale
  network_dns "$@"
}
