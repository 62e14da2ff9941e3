#!/usr/bin/env bash
# Replaces containers of docker-compose one by one without downtime: it starts the new one, and stops the old one when the new one is
# ready. Build or pull the new images first. If a new container does not get ready, nothing changes. Redis gets the users of this
# version first (deploy/redis/users.acl).
#
#   deploy/upgrade.sh                     presence-states, then reapers, then gateways
#   deploy/upgrade.sh gateway             only these
#
# COMPOSE names the command if it is not found: COMPOSE='docker compose' deploy/upgrade.sh. Its own variables (COMPOSE_FILE,
# COMPOSE_PROJECT_NAME) and .env apply.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# How long a new container may take, and how long the edge needs at most to find it (deploy/edge/haproxy.cfg).
READY_WITHIN=${READY_WITHIN:-90}
EDGE_FINDS=4

say() { printf 'upgrade: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

if [ -z "${COMPOSE:-}" ]; then
  if docker compose version >/dev/null 2>&1; then COMPOSE='docker compose'; else COMPOSE=docker-compose; fi
fi

# Word splitting is intended: it may be two words.
# shellcheck disable=SC2086
compose() { $COMPOSE "$@"; }

running() { compose ps -q "$1"; }

# Rules that changed after Redis was started are unknown to it. They are loaded only then: before 7.4 that closes every connection.
# shellcheck disable=SC2016
load_users='
  export REDISCLI_AUTH=$(cat /run/rollcall/redis_password)
  up=$(redis-cli --user admin info server | sed -n "s/^uptime_in_seconds:\([0-9]*\).*/\1/p")
  [ -n "$up" ] || exit 1
  age=$(($(date +%s) - $(stat -c %Y /run/rollcall/users.acl)))
  [ "$age" -ge "$up" ] || [ "$(redis-cli --user admin ACL LOAD)" = OK ]'

users() {
  compose run --rm -T setup >/dev/null || die "the users of Redis cannot be made; nothing was changed"
  # Another Redis (REDIS_URL) has users of its own.
  [ -n "$(running redis)" ] || return 0
  compose exec -T redis sh -c "$load_users" >/dev/null ||
    die "Redis does not take its users, perhaps because the password of admin is a new one: $COMPOSE restart redis, then try again"
}

health() { docker inspect --format '{{.State.Status}}/{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1"; }

# add SERVICE COUNT: one more, made from the newest image; sets fresh to it once it is healthy.
add() {
  local service=$1 count=$2 before now deadline=$((SECONDS + READY_WITHIN))
  before=$(running "$service")
  # Running containers with changed settings are not touched here: they are replaced one by one.
  compose up -d --no-build --no-deps --no-recreate --scale "$service=$count" "$service" >/dev/null 2>&1 ||
    die "$COMPOSE cannot start another $service"
  fresh=$(running "$service" | grep -vxF "$before" | sed 1q) || true
  [ -n "$fresh" ] || die "$COMPOSE started no other $service"
  until now=$(health "$fresh") && [ "$now" = running/healthy ]; do
    [ $SECONDS -lt $deadline ] || {
      docker logs --tail 20 "$fresh" >&2 || true
      docker rm -f "$fresh" >/dev/null
      die "the new $service was $now for $READY_WITHIN s and is removed; the old ones go on"
    }
    sleep 0.5
  done
}

upgrade() {
  local service=$1 old count done=0 began=$SECONDS
  old=$(running "$service")
  [ -n "$old" ] || die "no $service is running"
  count=$(wc -l <<<"$old")
  for id in $old; do
    add "$service" $((count + 1))
    if [ "$service" = gateway ]; then sleep $EDGE_FINDS; fi
    # Its own grace period (docker-compose.yml) applies.
    docker stop "$id" >/dev/null
    docker rm "$id" >/dev/null
    done=$((done + 1))
    say "$service $done of $count: ${id:0:12} is replaced by ${fresh:0:12}"
  done
  say "$service is done in $((SECONDS - began)) s"
}

[ $# -gt 0 ] || set -- presence-state reaper gateway
for service in "$@"; do
  case $service in
    presence-state | reaper | gateway) ;;
    *) die "presence-state, reaper and gateway are replaced one by one, '$service' is not" ;;
  esac
done
users
for service in "$@"; do upgrade "$service"; done
