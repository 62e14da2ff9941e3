# Containers: the engine, docker-compose, and the images, which are present, pulled, or built.

has_engine() { has docker && docker info >/dev/null 2>&1; }

# The images of docker-compose.yml that ./dev up uses too.
image_of() {
  case $1 in
    redis) echo redis:7.4-bookworm ;;
    collector) echo otel/opentelemetry-collector-contrib:0.159.0 ;;
    jaeger) echo jaegertracing/jaeger:2.20.0 ;;
    prometheus) echo prom/prometheus:v3.14.0 ;;
    loki) echo grafana/loki:3.7.6 ;;
    alertmanager) echo prom/alertmanager:v0.34.0 ;;
    grafana) echo grafana/grafana:13.2.0 ;;
  esac
}

image_is_here() { has docker && docker image inspect "$1" >/dev/null 2>&1; }

# get_image NAME: whether the image is here, or could be pulled. Says what is pulled, and how large it is if the registry tells.
get_image() {
  local image size
  image=$(image_of "$1")
  if image_is_here "$image"; then return 0; fi
  size=$(download_size "$image")
  say "pulling $image${size:+, $size MB}"
  docker pull "$image" >&2
}

# download_size IMAGE: the megabytes of its layers for the engine's architecture. An image for several architectures has a list of
# manifests, one for each.
download_size() {
  local manifest digest arch
  arch=$(docker version --format '{{.Server.Arch}}' 2>/dev/null)
  manifest=$(docker manifest inspect "$1" 2>/dev/null) || return 0
  digest=$(awk -F'"' -v arch="$arch" '
    $2 == "digest" { digest = $4 }
    $2 == "architecture" && $4 == arch { print digest; exit }
  ' <<<"$manifest")
  [ -z "$digest" ] || manifest=$(docker manifest inspect "${1%:*}@$digest" 2>/dev/null) || return 0
  awk '
    /"layers"/ { layers = 1 }
    layers && /"size"/ { gsub(/[^0-9]/, ""); size += $0 }
    END { if (size) printf "%d", size / 1000000 + 1 }
  ' <<<"$manifest"
}

# need_images: builds our images and has the others, or sets no_containers to what is missing. Loki and Grafana may be
# missing: they are not pulled, but used if the user has pulled them. Exports ROLLCALL_COMPOSE, the command, and
# ROLLCALL_WITHOUT, the names of those two that are missing.
need_images() {
  local image names from name
  if ! has_engine; then
    no_containers="there is no Docker engine"
    return 1
  fi
  if docker compose version >/dev/null 2>&1; then
    export ROLLCALL_COMPOSE='docker compose'
  elif has docker-compose; then
    export ROLLCALL_COMPOSE=docker-compose
  else
    no_containers="there is neither docker compose nor docker-compose"
    return 1
  fi
  # Tests use the local sources, under an image name of their own.
  export ROLLCALL_TAG=test
  from=$(sed -n 's/^FROM \([^ ]*[:/][^ ]*\) .*/\1/p' deploy/Dockerfile)
  # Word splitting is intended.
  # shellcheck disable=SC2086
  names=$($ROLLCALL_COMPOSE config | sed -n 's/^ *image: //p' | grep -v -e '^rollcall/' -e '^grafana/')
  # shellcheck disable=SC2013 # a name of an image has no spaces
  for image in $(sort -u <<<"$from
$names"); do
    docker image inspect "$image" >/dev/null 2>&1 || docker pull -q "$image" >/dev/null 2>&1 || {
      no_containers="the image $image is not here and cannot be pulled"
      return 1
    }
  done
  export ROLLCALL_WITHOUT=
  for name in loki grafana; do
    if image_is_here "$(image_of $name)"; then continue; fi
    ROLLCALL_WITHOUT="$ROLLCALL_WITHOUT $name"
    say "the image of $name is missing: its tests are skipped and counted; $(advice_for $name)"
  done
  say "building the images"
  mkdir -p .dev/test
  ROLLCALL_COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  export ROLLCALL_COMMIT
  # shellcheck disable=SC2086
  $ROLLCALL_COMPOSE -f docker-compose.yml -f deploy/compose/demo.yml build >.dev/test/images.log 2>&1 ||
    die "the images cannot be built; see .dev/test/images.log"
}
