# shellcheck shell=sh
# Health checks that run on the target, all at once. Their texts come over standard input, so
# none is seen in a process list. What is executed runs in a transient unit that writes to a
# file: a child that keeps the output open, an endless line or a hang ends with the unit, and
# never holds this session. A check is over when all that it started is (systemd.service(5),
# ExitType=cgroup), as it is for who reads its output to the end. Needs PATH, and the private
# folder of session.sh as first argument.

# Longest output of a script, in bytes, before it is stopped; and what is read back of it.
probes_limit=8M
probes_shown=65536

# probes_receive DIR COUNT: reads COUNT times `probe INDEX KIND SECONDS BYTES` and the text.
probes_receive() {
  probes_left=$2
  while [ "$probes_left" -gt 0 ]; do
    IFS=' ' read -r probes_word probes_index probes_kind probes_seconds probes_bytes || return 1
    case $probes_word:$probes_index$probes_seconds$probes_bytes in
      probe:*[!0-9]*) return 1 ;;
      probe:*) ;;
      *) return 1 ;;
    esac
    head -c "$probes_bytes" > "$1/$probes_index.text"
    [ "$(wc -c < "$1/$probes_index.text")" -eq "$probes_bytes" ] || return 1
    printf '%s %s %s\n' "$probes_index" "$probes_kind" "$probes_seconds" >> "$1/probes"
    probes_left=$((probes_left - 1))
  done
}

# probes_said INDEX FILE: its beginning, line by line.
probes_said() {
  { head -c "$probes_shown" "$2"; echo; } | tr -d '\000' | sed "s/^/said=$1 /"
}

# probes_command DIR INDEX: what runs the text: its own first line, else sh.
probes_command() {
  if [ "$(head -c 2 "$1/$2.text" | tr -d '\000')" = '#!' ]; then
    chmod 0700 "$1/$2.text"
  else
    printf '%s\n' /bin/sh
  fi
}

# probes_execute DIR INDEX SECONDS: the text as a program, as root, in a unit of its own.
probes_execute() {
  probes_unit=nixdeploy-probe-${1##*.}-$2
  # shellcheck disable=SC2046 # one word or none
  timeout -k 5 "$(($3 + 20))" systemd-run --quiet --collect --wait --no-ask-password \
    --unit="$probes_unit" --description="nixdeploy health check $2" \
    -p ExitType=cgroup -p RuntimeMaxSec="$3" -p KillMode=control-group -p KillSignal=SIGKILL -p TimeoutStopSec=5 \
    -p StandardInput=null -p StandardOutput="file:$1/$2.out" -p StandardError=inherit \
    -p LimitFSIZE="$probes_limit" -p LimitCORE=0 \
    -p Environment="PATH=/run/wrappers/bin:/run/current-system/sw/bin LC_ALL=C.UTF-8" \
    -p ExecStopPost="/bin/sh -c 'echo \$\$SERVICE_RESULT \$\$EXIT_CODE \$\$EXIT_STATUS > $1/$2.end'" \
    -- $(probes_command "$1" "$2") "$1/$2.text" < /dev/null > "$1/$2.run" 2>&1 || true
  if [ -s "$1/$2.end" ]; then
    put probe "$2 $(cat "$1/$2.end")"
  else
    put probe "$2 unavailable $(head -n 1 "$1/$2.run")"
  fi
  if [ -e "$1/$2.out" ]; then probes_said "$2" "$1/$2.out"; fi
}

# probes_limited DIR INDEX SECONDS CMD...: a tool that needs no unit; its exit status decides.
probes_limited() {
  probes_dir=$1 probes_at=$2 probes_time=$3 probes_rc=0
  shift 3
  timeout -k 2 "$probes_time" "$@" < /dev/null > "$probes_dir/$probes_at.out" 2>&1 || probes_rc=$?
  case $probes_rc in
    124 | 137) put probe "$probes_at timeout exited $probes_rc" ;;
    *) put probe "$probes_at done exited $probes_rc" ;;
  esac
  probes_said "$probes_at" "$probes_dir/$probes_at.out"
}

# probes_journal DIR INDEX SECONDS CURSOR PATTERN: healthy when nothing matches.
probes_journal() {
  [ -n "$4" ] || { put probe "$2 unavailable no place in the journal to begin at"; return 0; }
  probes_rc=0
  timeout -k 2 "$3" journalctl --no-pager -q -o cat --all --after-cursor="$4" < /dev/null \
    > "$1/$2.journal" 2> /dev/null || { put probe "$2 unavailable the journal cannot be read"; return 0; }
  grep -a -m 5 -E -e "$5" -- "$1/$2.journal" > "$1/$2.out" 2>&1 < /dev/null || probes_rc=$?
  case $probes_rc in
    0) put probe "$2 done exited 1" ;;
    1) put probe "$2 done exited 0" ;;
    *) put probe "$2 unavailable grep cannot use the pattern" ;;
  esac
  probes_said "$2" "$1/$2.out"
}

# probes_tcp DIR INDEX SECONDS HOST:PORT
probes_tcp() {
  probes_port=${4##*:} probes_host=${4%:*}
  probes_host=${probes_host#[} probes_host=${probes_host%]}
  if command -v nc > /dev/null 2>&1; then
    probes_limited "$1" "$2" "$3" nc -z -w "$3" "$probes_host" "$probes_port"
  elif command -v bash > /dev/null 2>&1; then
    # shellcheck disable=SC2016 # bash expands them
    probes_limited "$1" "$2" "$3" bash -c 'exec 3<> "/dev/tcp/$0/$1"' "$probes_host" "$probes_port"
  else
    put probe "$2 unavailable neither nc nor bash on the host"
  fi
}

# probes_one DIR INDEX KIND SECONDS CURSOR
probes_one() {
  case $3 in
    unit | dns | journal | tcp) probes_text=$(cat "$1/$2.text") ;;
    *) probes_text= ;;
  esac
  case $3 in
    script | command) probes_execute "$1" "$2" "$4" ;;
    unit) probes_limited "$1" "$2" "$4" systemctl is-active -- "$probes_text" ;;
    dns) probes_limited "$1" "$2" "$4" getent ahosts "$probes_text" ;;
    journal) probes_journal "$1" "$2" "$4" "$5" "$probes_text" ;;
    tcp) probes_tcp "$1" "$2" "$4" "$probes_text" ;;
    http)
      if command -v curl > /dev/null 2>&1; then
        probes_limited "$1" "$2" "$4" curl -q --config "$1/$2.text"
      else
        put probe "$2 unavailable no curl on the host"
      fi
      ;;
    *) put probe "$2 unavailable unknown kind" ;;
  esac
}

# probes_checks DIR COUNT CURSOR: receives, runs all at once, answers in order.
probes_checks() {
  [ "$2" -gt 0 ] || return 0
  probes_receive "$1" "$2" || { put oddity 'the health checks did not arrive whole'; return 0; }
  while IFS=' ' read -r probes_index probes_kind probes_seconds; do
    probes_one "$1" "$probes_index" "$probes_kind" "$probes_seconds" "$3" \
      > "$1/$probes_index.answer" 2> /dev/null < /dev/null &
  done < "$1/probes"
  wait
  while IFS=' ' read -r probes_index probes_kind probes_seconds; do
    cat "$1/$probes_index.answer"
  done < "$1/probes"
}
