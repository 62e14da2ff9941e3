# The processes of one ./dev up: how they are started, watched and stopped, whatever happens to the script, the terminal or the
# processes. Knows nothing of what they do.
#
# - A run is a folder, .dev/run.*, in which KIND/NUMBER holds the pid of each process that was started and not yet
#   stopped.
# - Each process leads a process group of its own. Ctrl-C therefore reaches the script alone, which stops the others in
#   order.
# - The keeper, a second copy of this script, only waits for the first to end: it reads from a pipe whose writing end only the
#   script holds. When that closes (even by kill -9), it stops what is left.
# - The relays, one per service, prefix its lines with its name. They end when the service does, not before.

# The collector stops before the stores, because it may still have data for them.
stop_order="build crowd gateway reaper state redis collector jaeger prometheus loki alertmanager grafana network"

open_run() {
  if ! { mkdir -p .dev && run=$(mktemp -d "$PWD/.dev/run.XXXXXX") && mkfifo "$run/alive" "$run/wake"; }; then
    die "cannot make a folder for this run in $PWD/.dev"
  fi
  asked_at='' hurry='' status_if_asked=130
  # How long a service may take to stop: its drain time plus ten seconds.
  patience_s=13
  case ${DRAIN_MS:-} in '' | *[!0-9]*) ;; *) patience_s=$((10#$DRAIN_MS / 1000 + 10)) ;; esac
  exec 8<>"$run/wake"
  trap 'on_signal INT' INT
  trap 'on_signal TERM' TERM
  trap 'on_signal HUP' HUP
  trap close_run EXIT
  # In groups of their own the others are in the background: with "stty tostop" their first line would suspend them.
  trap '' TTOU
  set -m
  keep &
  set +m
  exec 9>"$run/alive"
}

keep() {
  trap '' INT TERM HUP PIPE
  # No line ever comes: this returns when the last holder of the writing end is gone.
  read -r _ <"$run/alive"
  [ -d "$run" ] || return
  say "./dev up has ended; stopping what it started"
  stop_all
  rm -rf "$run"
}

close_run() {
  [ -z "$asked_at" ] || say "stopping"
  stop_all
  rm -rf "$run"
  exec 9>&-
  wait
}

# Signals only set a flag, which is read at safe points (leave_if_asked). A second Ctrl-C means "now", unless it arrives together with
# the first: a wrapper may forward a signal that the terminal has sent already.
on_signal() {
  if [ -z "$asked_at" ]; then
    asked_at=$SECONDS
    echo >&8
  elif [ "$1" != HUP ] && [ $((SECONDS - asked_at)) -gt 1 ]; then
    hurry=yes
  fi
}

leave_if_asked() { [ -z "$asked_at" ] || exit "$status_if_asked"; }

# Sleeps for a second without a process; ends at once when a stop is requested.
rest() {
  read -r -t 1 _ <&8
  leave_if_asked
}

# start KIND NUMBER COMMAND…
start() {
  local kind=$1 number=$2
  shift 2
  mkdir -p "$run/$kind"
  set -m
  "$@" </dev/null 8>&- 9>&- &
  set +m
  printf '%s\n' $! >"$run/$kind/$number"
  # Otherwise bash would print a message of its own when a process ends.
  disown
}

# start_service KIND NUMBER COMMAND…: the same, with its log passed on line by line.
start_service() {
  local log="$run/$1-$2.log"
  mkfifo "$log"
  relay "$1-$2" "$log" 8>&- 9>&- &
  start "$@" >"$log" 2>&1
}

relay() {
  local name line
  trap '' INT TERM HUP PIPE
  printf -v name '%-9s | ' "$1"
  [ "${LOG_FORMAT:-text}" != json ] || name=''
  # Reading continues even if the terminal is gone: the service must not block.
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s%s\n' "$name" "$line"
  done <"$2" 2>/dev/null
  rm -f "$2"
}

# Waits until the relay of an ended service has printed everything.
hear_out() {
  local deadline=$((SECONDS + 2))
  while [ -e "$run/$1-$2.log" ] && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
}

# lives KIND NUMBER: sets pid.
lives() { read -r pid <"$run/$1/$2" && pid_lives "$pid"; }

pid_lives() {
  local state=''
  kill -0 -- "-$1" 2>/dev/null || return 1
  # In a container whose first process collects no orphans, the dead stay as zombies.
  if [ -e "/proc/$1/stat" ]; then read -r _ _ state _ <"/proc/$1/stat"; fi 2>/dev/null
  [ "$state" != Z ]
}

stop_all() {
  local kind
  for kind in $stop_order; do stop_kind "$kind"; done
}

# SIGTERM to all of a kind, SIGKILL to those that still run long after every drain should be over.
stop_kind() {
  local deadline=$((SECONDS + patience_s)) file forced_at='' left
  [ -d "$run/$1" ] || return 0
  signal_kind "$1" TERM
  while :; do
    left=''
    for file in "$run/$1"/*; do
      [ -e "$file" ] || continue
      if lives "$1" "${file##*/}"; then left="$left $1-${file##*/}"; else rm -f "$file"; fi
    done
    [ -n "$left" ] || return 0
    # Redis is exempt from the hurry: it needs a moment to save its data.
    if [ -n "$hurry" ] && [ "$1" != redis ]; then deadline=0; fi
    if [ -z "$forced_at" ] && [ $SECONDS -ge "$deadline" ]; then
      forced_at=$SECONDS
      say "killing$left"
      signal_kind "$1" KILL
    elif [ -n "$forced_at" ] && [ $((SECONDS - forced_at)) -ge 5 ]; then
      say "cannot stop$left"
      return 1
    fi
    sleep 0.1
  done
}

signal_kind() {
  local file pid
  for file in "$run/$1"/*; do
    if [ -e "$file" ]; then
      read -r pid <"$file"
      kill "-$2" -- "-$pid"
      # It may have been paused (SIGSTOP).
      kill -CONT -- "-$pid"
    fi 2>/dev/null
  done
}
