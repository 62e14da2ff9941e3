# ./dev up: all of Rollcall on this machine, by one command.

up() {
  local data
  gateways=1 states=1 reapers=1 crowd=0 observe=no auth=no
  up_options "$@"
  if [ $crowd != 0 ]; then need_no_auth; fi
  need_rust
  need_compiler "./dev up"
  need_host
  need_ports
  if [ $observe != no ]; then need_observe_ports; fi
  need_redis
  if [ $observe != no ]; then need_observers; fi
  open_run
  build
  if [ $auth = yes ]; then use_auth; fi
  data="$PWD/.dev/$PORT"
  [ "$any_port" = no ] || data="$run/redis-data"
  if [ $observe != no ]; then start_observing "$data"; fi
  start_redis "$data"
  remember_redis
  start_behind state presence-state "$states"
  start_behind reaper presence-reaper "$reapers"
  if [ $observe != no ]; then link_traces; fi
  start_gateways
  if [ $crowd != 0 ]; then start_crowd; fi
  greet
  watch
}

up_options() {
  local option value
  while [ $# -gt 0 ]; do
    case $1 in
      --observe) observe=yes && shift && continue ;;
      --observe=build) observe=build && shift && continue ;;
      --auth) auth=yes && shift && continue ;;
      --install) install=yes && shift && continue ;;
      --gateways=* | --states=* | --reapers=* | --crowd=*) option=${1%%=*} value=${1#*=} && shift ;;
      --gateways | --states | --reapers | --crowd) option=$1 value=${2:-} && shift $(($# > 1 ? 2 : 1)) ;;
      *) misused "./dev up does not take '$1'; see ./dev help up" ;;
    esac
    up_number "$option" "$value"
    eval "${option#--}=$value"
  done
}

up_number() {
  local most=99
  [ "$1" != --crowd ] || most=2000
  case $2 in
    '' | 0* | *[!0-9]* | ?????*) ;;
    *) if [ "$2" -le $most ]; then return; fi ;;
  esac
  misused "$1 takes a number from 1 to $most, not '$2'"
}

# These check before the build, so that no one waits for it in vain. Sets reach, the address at which the services are reached.
need_host() {
  # It differs from the one they bind to (HOST) if HOST means every address of this machine.
  case ${HOST:-127.0.0.1} in
    0.0.0.0) reach=127.0.0.1 ;;
    ::) reach=::1 ;;
    *[!0-9a-fA-F.:]*) die "HOST must be an IP address, such as 127.0.0.1 or 0.0.0.0, not '$HOST'" ;;
    *) reach=${HOST:-127.0.0.1} ;;
  esac
  case ${HOST:-127.0.0.1} in 127.* | ::1) return ;; esac
  [ $auth = yes ] || [ -n "${AUTH:-}" ] ||
    die "HOST=$HOST is reachable from other machines: add --auth, or set AUTH=off, with which any client may claim to be any user"
}

need_ports() {
  local port
  PORT=${PORT:-3000} any_port=no
  case $PORT in
    0)
      any_port=yes
      free_ports "$reach" "$gateways"
      PORT=$first_port
      ;;
    *[!0-9]* | 0* | ??????*) die "PORT must be a number from 0 to 65535, not '$PORT'" ;;
  esac
  [ $((PORT + gateways - 1)) -le 65535 ] || die "PORT=$PORT leaves no room for $gateways ports"
  for ((port = PORT; port < PORT + gateways; port++)); do
    port_in_use "$reach" "$port" || continue
    die "port $port is in use; stop what listens there or choose another: PORT=$((PORT + 1000)) ./dev up"
  done
}

# In a process group of its own like everything else, so that cargo's children end with it at once.
build() {
  if [ -x "$binaries/presence-gateway" ]; then
    say "building"
  else
    say "building for the first time, which takes 5 to 10 min on two cores"
  fi
  start build 1 build_and_tell
  while lives build 1; do rest_short; done
  rm -f "$run/build/1"
  [ -e "$run/built" ] || die "the build failed; see cargo's output above"
}

build_and_tell() {
  build_services || return
  if [ "$crowd" != 0 ]; then build_crowd || return; fi
  : >"$run/built"
}

rest_short() {
  sleep 0.1
  leave_if_asked
}

# Services behind the gateway get free admin ports: two of a kind, or two clones, cannot share the default ones.
start_behind() {
  local kind=$1 program=$2 count=$3 number ports=''
  for ((number = 1; number <= count; number++)); do
    free_ports "$reach" 1
    ports="$ports $first_port"
    start_service "$kind" "$number" env ADMIN_PORT="$first_port" "$binaries/$program"
  done
  number=0
  for first_port in $ports; do await_ready "$kind" $((number += 1)) "$first_port"; done
}

start_gateways() {
  local number
  for ((number = 1; number <= gateways; number++)); do
    start_service gateway "$number" env PORT=$((PORT + number - 1)) PLAYGROUND="${PLAYGROUND:-on}" "$binaries/presence-gateway"
  done
  for ((number = 1; number <= gateways; number++)); do await_ready gateway "$number" $((PORT + number - 1)); done
}

await_ready() {
  local kind=$1 number=$2 port=$3 deadline=$((SECONDS + 60))
  until readyz "$reach" "$port"; do
    if ! lives "$kind" "$number"; then
      hear_out "$kind" "$number"
      die "$kind-$number ended at its start; its log is above"
    fi
    [ $SECONDS -lt $deadline ] || die "$kind-$number is not ready after 60 s: $not_ready"
    rest_short
  done
  lives "$kind" "$number" && say "$kind-$number is ready at $(url "$port") (pid $pid)"
}

url() {
  case $reach in
    *:*) printf 'http://[%s]:%s' "$reach" "$1" ;;
    *) printf 'http://%s:%s' "$reach" "$1" ;;
  esac
}

greet() {
  local port
  for ((port = PORT; port < PORT + gateways; port++)); do printf 'ready %s\n' "$(url "$port")"; done
  if http_ok "$reach" "$PORT" /; then echo "  Page:    $(url "$PORT")/ to try it: join a room in two tabs"; fi
  if [ $observe != no ]; then tell_addresses; fi
  tell_auth
  cat <<EOF
  Try it:  point a Socket.IO client at $(url "$PORT") and emit presence:join (README.md has one to paste)
  Look:    $(url "$PORT")/readyz says whether it is ready; kill -9 one of the pids above and watch what its users notice
  Stop:    Ctrl-C ends everything in order, a second one at once
EOF
  status_if_asked=0
}

# A death is reported and does not affect the others, as in production. Without any gateway the run ends.
watch() {
  local kind file name
  while :; do
    for kind in crowd gateway reaper state redis $observe_kinds; do
      for file in "$run/$kind"/*; do
        if [ ! -e "$file" ] || lives "$kind" "${file##*/}"; then continue; fi
        rm -f "$file"
        name=$kind-${file##*/}
        case " $observe_kinds " in
          *" $kind "*)
            say "$kind has died (its log is $observe_data/$kind.log); the others go on"
            continue
            ;;
        esac
        [ -n "$(ls "$run/gateway")" ] || die "$name has died and no gateway is left"
        say "$name has died, $(find "$run/$kind" -type f | wc -l | tr -d ' ') of its kind left; the others go on"
      done
    done
    rest
  done
}
