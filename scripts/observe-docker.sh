# The telemetry servers in containers, in a network of their own under the default names of the shipped files.

observe_with_docker() {
  local folder=$PWD/deploy/telemetry
  network="rollcall-$PORT-$otlp_port"
  observe network hold_network
  observed=''
  until docker network inspect "$network" >/dev/null 2>&1; do
    lives network 1 || { say "Docker cannot create a network; see $observe_data/network.log" && return; }
    rest_short
  done
  contain jaeger jaeger "$jaeger_port:16686" -v "$folder/jaeger/jaeger.yaml:/etc/jaeger/jaeger.yaml:ro" -- \
    --config=/etc/jaeger/jaeger.yaml
  contain prometheus prometheus "$prometheus_port:9090" -e GRAFANA_URL="http://127.0.0.1:$grafana_port" \
    -v "$folder/prometheus:/etc/prometheus:ro" -- \
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
  contain grafana grafana "$grafana_port:3000" -e GF_AUTH_ANONYMOUS_ENABLED=true -e GF_AUTH_ANONYMOUS_ORG_ROLE=Viewer \
    -e GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH=/var/lib/grafana/dashboards/presence-overview.json \
    -v "$folder/grafana/provisioning:/etc/grafana/provisioning:ro" \
    -v "$folder/grafana/dashboards:/var/lib/grafana/dashboards:ro" \
    -v "$PWD/docs:/usr/share/grafana/public/docs:ro" --
}

# contain NAME HOSTNAME PORT:PORT OPTION… -- ARGUMENT…: unless its image is missing.
contain() {
  local name=$1 host=$2 ports=$3 options
  shift 3
  if ! image_is_here "$(image_of "$name")"; then
    say "$name is left out; $(advice_for "$name")"
    return
  fi
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
