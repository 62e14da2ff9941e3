# ./dev up --crowd: people who use what was started, from the load generator (bench/src/crowd.rs).

build_crowd() { cargo build --release -p rollcall-bench --bin rollcall-bench; }

# Has no tokens to show.
need_no_auth() {
  if [ $auth = yes ] || [ "${AUTH:-off}" = jwt ]; then misused "the people of --crowd have no tokens: start it without --auth"; fi
}

# On all gateways, in turn.
start_crowd() {
  local port addresses=()
  for ((port = PORT; port < PORT + gateways; port++)); do
    case $reach in
      *:*) addresses+=(--at "[$reach]:$port") ;;
      *) addresses+=(--at "$reach:$port") ;;
    esac
  done
  start_service crowd 1 "$binaries/rollcall-bench" --crowd "$crowd" "${addresses[@]}"
  lives crowd 1 && say "crowd-1 is $crowd people who come and go (pid $pid)"
}
