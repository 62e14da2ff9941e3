# ./dev up --observe: the telemetry servers next to the services, with their files in deploy/. The services never depend on them:
# one that is missing, dies or does not start is reported, and everything else continues.
#
# They run from pinned images if an engine and the images are present, else as programs (tools.sh). The files are the same in both
# cases; programs get the addresses of the others as variables. Loki and Grafana are never built: they are left out if the user does
# not have them, and without Loki the collector discards log lines.

observe_kinds="collector jaeger prometheus loki alertmanager grafana network"

image_of() {
  case $1 in
    collector) echo otel/opentelemetry-collector-contrib:0.159.0 ;;
    jaeger) echo jaegertracing/jaeger:2.20.0 ;;
    prometheus) echo prom/prometheus:v3.14.0 ;;
    loki) echo grafana/loki:3.7.6 ;;
    alertmanager) echo prom/alertmanager:v0.34.0 ;;
    grafana) echo grafana/grafana:13.2.0 ;;
  esac
}

# Checks before the build, like need_ports. OBSERVE_PORTS=any takes free ports for all.
need_observe_ports() {
  local name port
  jaeger_port=16686 prometheus_port=9090 loki_port=3100 alertmanager_port=9093 grafana_port=3001
  otlp_port=4318 otlp_grpc_port=4317 health_port=13133
  case ${OBSERVE_PORTS:-usual} in
    usual) ;;
    any)
      for name in jaeger prometheus loki alertmanager grafana otlp otlp_grpc health; do
        free_ports 127.0.0.1 1
        eval "${name}_port=$first_port"
      done
      ;;
    *) die "OBSERVE_PORTS must be 'usual' or 'any', not '$OBSERVE_PORTS'" ;;
  esac
  for name in jaeger prometheus loki alertmanager grafana otlp otlp_grpc health; do
    eval "port=\$${name}_port"
    port_in_use 127.0.0.1 "$port" || continue
    die "port $port ($name) is in use; stop what listens there, or take free ports: OBSERVE_PORTS=any ./dev up --observe"
  done
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
  if images_are_there; then observe_with_docker; else observe_with_programs; fi
  case $observed in
    *' collector'*) export OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$otlp_port" ;;
    *) say "without a collector nothing is observed; the services start anyway" ;;
  esac
}

images_are_there() {
  local name
  has docker && docker info >/dev/null 2>&1 || return 1
  for name in collector jaeger prometheus alertmanager; do
    image_is_here "$(image_of "$name")" || return 1
  done
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

# --- as programs, all on 127.0.0.1

observe_with_programs() {
  local config="$observe_data/prometheus-config" jaeger_otlp jaeger_grpc loki_grpc
  say "Grafana is left out, because it runs only with Docker and the images; the others run as programs"
  start build 1 find_programs
  while lives build 1; do rest_short; done
  rm -f "$run/build/1"

  free_ports 127.0.0.1 3
  jaeger_otlp=$first_port jaeger_grpc=$((first_port + 1)) loki_grpc=$((first_port + 2))
  if found jaeger jaeger; then
    observe jaeger env JAEGER_HOST=127.0.0.1 JAEGER_PORT="$jaeger_port" JAEGER_OTLP_PORT="$jaeger_otlp" \
      JAEGER_QUERY_GRPC_PORT="$jaeger_grpc" JAEGER_DATA="$observe_data/jaeger" "$program" --config="$PWD/deploy/telemetry/jaeger/jaeger.yaml"
  fi
  if found prometheus prometheus; then
    # Links to the shipped files, plus one that differs here: the address of the Alertmanager.
    mkdir -p "$config" && ln -sfn "$PWD/deploy/telemetry/prometheus/prometheus.yml" "$config/prometheus.yml"
    ln -sfn "$PWD/deploy/telemetry/prometheus/rules" "$config/rules"
    printf -- "- targets: ['127.0.0.1:%s']\n" "$alertmanager_port" >"$config/alertmanagers.yml"
    observe prometheus "$program" --config.file="$config/prometheus.yml" --storage.tsdb.path="$observe_data/prometheus" \
      --web.listen-address="127.0.0.1:$prometheus_port" --web.external-url="http://127.0.0.1:$prometheus_port" \
      --web.enable-otlp-receiver --enable-feature=exemplar-storage --log.level=warn
  fi
  if [ -e "$run/program-loki" ]; then
    read -r program <"$run/program-loki"
    observe loki env LOKI_HOST=127.0.0.1 LOKI_PORT="$loki_port" LOKI_GRPC_PORT="$loki_grpc" \
      LOKI_DATA="$observe_data/loki" "$program" -config.file="$PWD/deploy/telemetry/loki/loki.yaml" -config.expand-env=true
  else
    leave_out_loki "$(advice_for loki)"
  fi
  if found alertmanager alertmanager; then
    observe alertmanager in_folder deploy/telemetry/alertmanager "$program" --config.file=alertmanager.yml \
      --storage.path="$observe_data/alertmanager" --web.listen-address="127.0.0.1:$alertmanager_port" \
      --web.external-url="http://127.0.0.1:$alertmanager_port" --cluster.listen-address=
  fi
  if found collector otelcol-contrib; then
    observe collector env COLLECTOR_HOST=127.0.0.1 COLLECTOR_HTTP_PORT="$otlp_port" COLLECTOR_GRPC_PORT="$otlp_grpc_port" \
      COLLECTOR_HEALTH_PORT="$health_port" JAEGER_OTLP="127.0.0.1:$jaeger_otlp" \
      PROMETHEUS_URL="http://127.0.0.1:$prometheus_port" LOKI_URL="http://127.0.0.1:$loki_port" \
      "$program" --config="$PWD/otel-collector.yaml"
  fi
}

# In a process of its own, because it may build for minutes. Each path it finds is a line of a file.
find_programs() {
  local name
  for name in otelcol-contrib jaeger prometheus alertmanager; do
    if tool "$name"; then printf '%s\n' "$program" >"$run/program-$name"; fi
  done
  if find_loki; then printf '%s\n' "$program" >"$run/program-loki"; fi
}

# found NAME TOOL: sets program.
found() {
  if ! read -r program <"$run/program-$2"; then
    say "$1 is left out"
    return 1
  fi 2>/dev/null
}

# --- from images, in a network of their own under the default names of the shipped files

observe_with_docker() {
  local folder=$PWD/deploy
  network="rollcall-$PORT-$otlp_port"
  observe network hold_network
  observed=''
  until docker network inspect "$network" >/dev/null 2>&1; do
    lives network 1 || { say "Docker cannot create a network; see $observe_data/network.log" && return; }
    rest_short
  done
  contain jaeger jaeger "$jaeger_port:16686" -v "$folder/jaeger/jaeger.yaml:/etc/jaeger/jaeger.yaml:ro" -- \
    --config=/etc/jaeger/jaeger.yaml
  contain prometheus prometheus "$prometheus_port:9090" -v "$folder/prometheus:/etc/prometheus:ro" -- \
    --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus --web.enable-otlp-receiver \
    --web.external-url="http://127.0.0.1:$prometheus_port" --enable-feature=exemplar-storage --log.level=warn
  if image_is_here "$(image_of loki)"; then
    contain loki loki "$loki_port:3100" -v "$folder/loki/loki.yaml:/etc/loki/loki.yaml:ro" -- \
      -config.file=/etc/loki/loki.yaml -config.expand-env=true
  else
    # A program on the PATH would not be in the containers' network.
    leave_out_loki "to have it with the other images, run: docker pull $(image_of loki)"
  fi
  contain alertmanager alertmanager "$alertmanager_port:9093" \
    -v "$folder/alertmanager/alertmanager.yml:/etc/alertmanager/alertmanager.yml:ro" \
    -v "$folder/alertmanager/secrets:/alertmanager/secrets:ro" -- \
    --config.file=/etc/alertmanager/alertmanager.yml --storage.path=/alertmanager --cluster.listen-address= \
    --web.external-url="http://127.0.0.1:$alertmanager_port"
  contain collector otel-collector "$otlp_port:4318" -p "127.0.0.1:$otlp_grpc_port:4317" -p "127.0.0.1:$health_port:13133" \
    -e COLLECTOR_SAMPLE_PERCENT -e COLLECTOR_DECISION_WAIT -e COLLECTOR_SLOW_MS -e COLLECTOR_LOGS_EXPORTER \
    -v "$PWD/otel-collector.yaml:/etc/otelcol-contrib/config.yaml:ro" -- --config=/etc/otelcol-contrib/config.yaml
  if image_is_here "$(image_of grafana)"; then
    contain grafana grafana "$grafana_port:3000" -v "$folder/grafana/provisioning:/etc/grafana/provisioning:ro" \
      -v "$folder/grafana/dashboards:/var/lib/grafana/dashboards:ro" \
      -v "$PWD/docs/operate/runbooks:/usr/share/grafana/public/docs/operate/runbooks:ro" --
  else
    say "Grafana is left out; $(advice_for grafana)"
  fi
}

# contain NAME HOSTNAME PORT:PORT OPTION… -- ARGUMENT…
contain() {
  local name=$1 host=$2 ports=$3 options
  shift 3
  options=(--rm --name "$network-$name" --network "$network" --network-alias "$host" -p "127.0.0.1:$ports")
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  observe "$name" docker run "${options[@]}" "$(image_of "$name")" "$@"
}

# A process that owns the network while it lives. Containers that are left in it (a killed "docker run" leaves its container) are
# removed first.
hold_network() {
  trap 'end_network; exit' TERM
  docker network create "$network" || exit
  while :; do
    sleep 1 &
    wait $!
  done
}

end_network() {
  local id
  for id in $(docker ps -aq --filter "network=$network"); do docker rm -f "$id"; done
  docker network rm "$network"
}

# --- what to print

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

tell_addresses() {
  local name what join jaeger="http://127.0.0.1:$jaeger_port"
  join="service=presence-gateway&operation=socket%20presence%3Ajoin&limit=1"
  await_observers
  for name in $observed; do
    lives "$name" 1 || continue # sets pid
    case $name in
      collector) what="Collector    http://127.0.0.1:$otlp_port for OTLP by HTTP, $otlp_grpc_port by gRPC" ;;
      jaeger) what="Jaeger       $jaeger" ;;
      prometheus) what="Prometheus   http://127.0.0.1:$prometheus_port" ;;
      loki) what="Loki         http://127.0.0.1:$loki_port" ;;
      alertmanager) what="Alertmanager http://127.0.0.1:$alertmanager_port" ;;
      grafana) what="Grafana      http://127.0.0.1:$grafana_port as admin with the password admin" ;;
    esac
    printf '  %s (pid %s)\n' "$what" "$pid"
    [ "$name" = jaeger ] || continue
    # A Jaeger built from its module has no web interface; its API answers the same question.
    if ask 127.0.0.1 "$jaeger_port" "GET /search HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n" | grep -q jaeger-ui-root; then
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
