# ./dev up --observe: the telemetry servers next to the services, with their files in deploy/. The services never depend on them:
# one that is missing, dies or does not start is reported, and everything else continues.
#
# They run in containers (observe-docker.sh) if there is an engine, which pulls what is missing, else as programs
# (observe-programs.sh). The files are the same in both cases; programs get the addresses of the others as variables. Loki and Grafana
# are under the AGPL: they are neither built nor pulled here, but left out if the user does not have them, and without Loki the
# collector discards log lines.

observe_kinds="collector jaeger prometheus loki alertmanager grafana network"
observe_ports="jaeger prometheus loki alertmanager grafana otlp otlp_grpc health"

# Checks before the build, like need_ports, and after it. OBSERVE_PORTS=any takes free ports for all.
need_observe_ports() {
  local name port
  jaeger_port=16686 prometheus_port=9090 loki_port=3100 alertmanager_port=9093 grafana_port=3001
  otlp_port=4318 otlp_grpc_port=4317 health_port=13133
  case ${OBSERVE_PORTS:-usual} in
    # With two gateways Grafana's usual port is that of the second one.
    usual) if is_gateway_port $grafana_port; then grafana_port=$((PORT + gateways)); fi ;;
    any)
      for name in $observe_ports; do
        free_ports 127.0.0.1 1
        eval "${name}_port=$first_port"
      done
      ;;
    *) die "OBSERVE_PORTS must be 'usual' or 'any', not '$OBSERVE_PORTS'" ;;
  esac
  for name in $observe_ports; do
    eval "port=\$${name}_port"
    if is_gateway_port "$port"; then
      die "port $port is that of a gateway and of $name; choose another PORT, or take free ports: OBSERVE_PORTS=any ./dev up --observe"
    fi
    port_in_use 127.0.0.1 "$port" || continue
    die "port $port ($name) is in use; stop what listens there, or take free ports: OBSERVE_PORTS=any ./dev up --observe"
  done
}

is_gateway_port() { [ "$1" -ge "$PORT" ] && [ "$1" -lt $((PORT + gateways)) ]; }

# Decides between containers and programs, and pulls images, before the build: no one waits for it in vain. What cannot be pulled is
# left out. After the first failure nothing else is pulled, since the next one would have to wait for the same network.
need_observers() {
  local name
  observe_with=programs
  if [ $observe = build ] || ! has_engine; then
    need_programs "there is no Docker engine" "start Docker"
    return
  fi
  for name in collector jaeger prometheus alertmanager; do
    get_image $name && continue
    say "$(image_of $name) cannot be pulled: the servers whose images are missing are left out"
    break
  done
  # Without a collector nothing reaches the others.
  if image_is_here "$(image_of collector)"; then
    observe_with=docker
  else
    need_programs "the image of the collector cannot be pulled" "pull it"
  fi
}

# Finds and starts the servers, and points the services at the collector. In development every trace is kept and exported at once;
# variables that are set already win.
start_observing() {
  observed='' observe_data="$1/observe"
  mkdir -p "$observe_data" || die "cannot make the folder $observe_data"
  if [ "${DEPLOYMENT_ENVIRONMENT:-development}" = development ]; then
    export COLLECTOR_SAMPLE_PERCENT=${COLLECTOR_SAMPLE_PERCENT:-100}
    export COLLECTOR_DECISION_WAIT=${COLLECTOR_DECISION_WAIT:-3s} OTEL_BSP_SCHEDULE_DELAY=${OTEL_BSP_SCHEDULE_DELAY:-1000}
  fi
  "observe_with_$observe_with"
  case $observed in
    *' collector'*) export OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$otlp_port" ;;
    *) say "without a collector nothing is observed; the services start anyway" ;;
  esac
}

# leave_out_loki ADVICE
leave_out_loki() {
  say "Loki is left out, and log lines go to stdout only; $1"
  export COLLECTOR_LOGS_EXPORTER=nop
}

# observe NAME COMMAND…: starts a server with a log file of its own.
observe() {
  start "$1" 1 "${@:2}" >"$observe_data/$1.log" 2>&1
  observed="$observed $1"
}

in_folder() { cd "$1" && shift && exec "$@"; }

# The path that each server answers with 200 once it works.
await_observers() {
  local name deadline=$((SECONDS + 30)) waiting=$observed still
  while [ -n "$waiting" ] && [ $SECONDS -lt $deadline ]; do
    still=''
    for name in $waiting; do
      if ! lives "$name" 1; then continue; fi
      observer_answers "$name" || still="$still $name"
    done
    waiting=$still
    [ -z "$waiting" ] || rest_short
  done
  for name in $waiting; do say "$name does not answer yet; its log is $observe_data/$name.log"; done
}

observer_answers() {
  local path port
  case $1 in
    collector) port=$health_port path=/ ;;
    jaeger) port=$jaeger_port path=/api/services ;;
    prometheus) port=$prometheus_port path=/-/ready ;;
    loki) port=$loki_port path=/ready ;;
    alertmanager) port=$alertmanager_port path=/-/ready ;;
    grafana) port=$grafana_port path=/api/health ;;
  esac
  http_ok 127.0.0.1 "$port" "$path"
}

# A Jaeger that was built from its module has none.
jaeger_has_pages() {
  [[ $(ask 127.0.0.1 "$jaeger_port" "GET /search HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n") == *jaeger-ui-root* ]]
}

# Where the gateways' page finds traces. It was started some seconds ago.
link_traces() {
  local deadline=$((SECONDS + 10))
  case $observed in *jaeger*) ;; *) return ;; esac
  while lives jaeger 1 && ! observer_answers jaeger && [ $SECONDS -lt $deadline ]; do rest_short; done
  if jaeger_has_pages; then export PLAYGROUND_TRACES=${PLAYGROUND_TRACES:-http://127.0.0.1:$jaeger_port}; fi
}

tell_addresses() {
  local name what join jaeger="http://127.0.0.1:$jaeger_port"
  join="service=presence-gateway&operation=socket%20presence%3Ajoin&limit=1"
  await_observers
  [ -n "$observed" ] || echo "  Observe: nothing, without its servers; ./dev help up says where --observe looks for them"
  for name in $observed; do
    lives "$name" 1 || continue # sets pid
    case $name in
      collector) what="Collector    http://127.0.0.1:$otlp_port for OTLP by HTTP, $otlp_grpc_port by gRPC" ;;
      jaeger)
        what="Jaeger       $jaeger"
        jaeger_has_pages || what="$what for its API; it was built without pages"
        ;;
      prometheus)
        what="Prometheus   http://127.0.0.1:$prometheus_port"
        http_ok 127.0.0.1 "$prometheus_port" /query || what="$what for its API; it was built without pages"
        ;;
      loki) what="Loki         http://127.0.0.1:$loki_port" ;;
      alertmanager) what="Alertmanager http://127.0.0.1:$alertmanager_port" ;;
      grafana) what="Grafana      http://127.0.0.1:$grafana_port to look; to change things, as admin with the password admin" ;;
    esac
    printf '  %s (pid %s)\n' "$what" "$pid"
    [ "$name" = jaeger ] || continue
    # Without pages, its API answers the same question.
    if jaeger_has_pages; then
      printf '  Newest join  %s/search?%s&lookback=1h\n' "$jaeger" "$join"
    else
      printf '  Newest join  %s/api/traces?%s&lookback=1h\n' "$jaeger" "$join"
    fi
  done
  case $observed in *alertmanager*) tell_missing_secrets ;; esac
}

tell_missing_secrets() {
  local name missing=''
  for name in slack_api_url pagerduty_routing_key; do
    [ -s "deploy/telemetry/alertmanager/secrets/$name" ] || missing="$missing${missing:+ and }$name"
  done
  [ -z "$missing" ] || say "alerts appear only on the page of the Alertmanager; missing: $missing in deploy/telemetry/alertmanager/secrets"
}
