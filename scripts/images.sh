# Containers: the engine, docker-compose, and the images of docker-compose.yml, which are present, pulled, or built.

# need_images: builds our images and has the others, or sets no_containers to what is missing. Loki and Grafana may be
# missing: they are not pulled, but used if the user has pulled them. Exports ROLLCALL_COMPOSE, the command, and
# ROLLCALL_WITHOUT, the names of those two that are missing.
need_images() {
  local image names from name
  if ! has docker || ! docker info >/dev/null 2>&1; then
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
  # shellcheck disable=SC2086
  ROLLCALL_COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown) \
    $ROLLCALL_COMPOSE build >.dev/test/images.log 2>&1 || die "the images cannot be built; see .dev/test/images.log"
}
