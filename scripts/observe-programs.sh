# The telemetry servers as programs, all on 127.0.0.1.

observe_programs="otelcol-contrib jaeger prometheus alertmanager"

# need_programs WHY_NOT_DOCKER MEND: before the build, what is missing, and how to get it, in one sentence.
need_programs() {
  local name missing=''
  for name in $observe_programs; do find_tool "$name" || missing="$missing${missing:+, }$name"; done
  if [ -z "$missing" ]; then return; fi
  if [ $observe != build ]; then
    say "left out, because $1, and they are neither on the PATH nor built here: $missing; $2, or build them once with Go, which takes" \
      "up to half an hour: ./dev up --observe=build"
  elif ! go_fits; then
    die "$missing cannot be built without Go 1.26 or newer; install it (https://go.dev/dl), or start Docker and use --observe"
  fi
}

observe_with_programs() {
  local config="$observe_data/prometheus-config" jaeger_otlp jaeger_grpc loki_grpc
  start build 1 find_programs
  while lives build 1; do rest_short; done
  rm -f "$run/build/1"
  tell_left_out

  free_ports 127.0.0.1 3
  jaeger_otlp=$first_port jaeger_grpc=$((first_port + 1)) loki_grpc=$((first_port + 2))
  if found jaeger; then
    observe jaeger env JAEGER_HOST=127.0.0.1 JAEGER_PORT="$jaeger_port" JAEGER_OTLP_PORT="$jaeger_otlp" \
      JAEGER_QUERY_GRPC_PORT="$jaeger_grpc" JAEGER_DATA="$observe_data/jaeger" \
      "$program" --config="$PWD/deploy/telemetry/jaeger/jaeger.yaml"
  fi
  if found prometheus; then
    # Links to the shipped files, plus one that differs here: the address of the Alertmanager.
    mkdir -p "$config" && ln -sfn "$PWD/deploy/telemetry/prometheus/prometheus.yml" "$config/prometheus.yml"
    ln -sfn "$PWD/deploy/telemetry/prometheus/rules" "$config/rules"
    printf -- "- targets: ['127.0.0.1:%s']\n" "$alertmanager_port" >"$config/alertmanagers.yml"
    # Links in alerts lead to Grafana, where one runs.
    observe prometheus env GRAFANA_URL="http://127.0.0.1:$grafana_port" "$program" --config.file="$config/prometheus.yml" \
      --storage.tsdb.path="$observe_data/prometheus" \
      --web.listen-address="127.0.0.1:$prometheus_port" --web.external-url="http://127.0.0.1:$prometheus_port" \
      --web.enable-otlp-receiver --enable-feature=exemplar-storage --log.level=warn
  fi
  if found loki; then
    observe loki env LOKI_HOST=127.0.0.1 LOKI_PORT="$loki_port" LOKI_GRPC_PORT="$loki_grpc" \
      LOKI_DATA="$observe_data/loki" "$program" -config.file="$PWD/deploy/telemetry/loki/loki.yaml" -config.expand-env=true
  else
    leave_out_loki "$(advice_for loki)"
  fi
  if found alertmanager; then
    observe alertmanager in_folder deploy/telemetry/alertmanager "$program" --config.file=alertmanager.yml \
      --storage.path="$observe_data/alertmanager" --web.listen-address="127.0.0.1:$alertmanager_port" \
      --web.external-url="http://127.0.0.1:$alertmanager_port" --cluster.listen-address=
  fi
  if found otelcol-contrib; then
    observe collector env COLLECTOR_HOST=127.0.0.1 COLLECTOR_HTTP_PORT="$otlp_port" COLLECTOR_GRPC_PORT="$otlp_grpc_port" \
      COLLECTOR_HEALTH_PORT="$health_port" JAEGER_OTLP="127.0.0.1:$jaeger_otlp" \
      PROMETHEUS_URL="http://127.0.0.1:$prometheus_port" LOKI_URL="http://127.0.0.1:$loki_port" \
      "$program" --config="$PWD/otel-collector.yaml"
  fi
}

# In a process of its own, because it may build for minutes. Each path it finds is a line of a file.
find_programs() {
  local name find=find_tool
  [ "$observe" != build ] || find=tool
  for name in $observe_programs; do
    if $find "$name"; then printf '%s\n' "$program" >"$run/program-$name"; fi
  done
  if find_loki; then printf '%s\n' "$program" >"$run/program-loki"; fi
}

# What was missing before is known since then (need_programs), unless it was to be built.
tell_left_out() {
  local name missing=''
  say "Grafana is left out, because it runs only in a container"
  [ "$observe" = build ] || return 0
  for name in $observe_programs; do [ -e "$run/program-$name" ] || missing="$missing${missing:+, }$name"; done
  [ -z "$missing" ] || say "left out, because they could not be built: $missing"
}

# found TOOL: sets program.
found() { [ -e "$run/program-$1" ] && read -r program <"$run/program-$1"; }
