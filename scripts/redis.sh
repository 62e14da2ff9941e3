# The Redis (or Valkey) of Rollcall: which one, whether it is new enough, and a private one for ./dev up.

# Sets redis_server to one on the PATH that is new enough; else redis_missing, which begins a sentence, and redis_too_old.
find_redis() {
  local name version
  redis_server='' redis_missing="there is no Redis" redis_too_old=no
  for name in redis-server valkey-server; do
    has "$name" || continue
    version=$("$name" --version 2>/dev/null | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
    if at_least "${version:-0}" 7; then
      redis_server=$name
      return 0
    fi
    redis_missing="$name $version is too old" redis_too_old=yes
  done
  return 1
}

# One that is too old is most likely the package manager's newest.
install_redis() { [ $redis_too_old = no ] && install_packages redis-server valkey redis && find_redis; }

# how_to_get_redis OPTION_OF: the advice, as part of a sentence.
how_to_get_redis() {
  if [ $redis_too_old = yes ]; then
    echo "get Redis or Valkey 7 or newer from https://redis.io/downloads or https://valkey.io/download"
  else
    how_to_install "$1" redis-server valkey redis
  fi
}

# need_redis_server COMMAND: a server program, which the tests and the benchmark start themselves.
need_redis_server() {
  find_redis || install_redis ||
    die "$redis_missing; Redis or Valkey 7 or newer is needed: $(how_to_get_redis "$1")"
}

# Any Redis for ./dev up: the one at REDIS_URL as it is, else a program, else a container.
need_redis() {
  if [ -n "${REDIS_URL:-}" ]; then
    check_redis_url
    return
  fi
  if find_redis; then return; fi
  if [ $install = yes ] && install_redis; then return; fi
  if has_engine && get_image redis; then
    say "$redis_missing here: it runs in a container ($(image_of redis))"
    redis_server=docker
    return
  fi
  install_redis ||
    die "$redis_missing; $(how_to_get_redis "./dev up"), or start Docker, or set REDIS_URL"
}

# Reports at once what would otherwise be a service that never gets ready. Only a single server without a password can be checked;
# the services judge the rest (TLS, clusters, sentinels, secrets). A URL may have a password, which is not shown.
check_redis_url() {
  local address answer version host port
  [[ $REDIS_URL =~ ^(redis|valkey)s?(-cluster|-sentinel)?://[^/] ]] || die "REDIS_URL is not a Redis URL, such as redis://127.0.0.1:6379"
  case $REDIS_URL in *,* | *@* | *\?*) return 0 ;; redis://?*) ;; *) return 0 ;; esac
  address=${REDIS_URL#redis://} address=${address%%/*}
  host=${address%:*} port=${address##*:}
  [ "$port" != "$address" ] || port=6379
  answer=$(ask "$host" "$port" 'INFO server\r\nQUIT\r\n') || die "no Redis answers at REDIS_URL ($host:$port)"
  version=$(sed -n 's/^redis_version://p' <<<"$answer")
  [ -z "$version" ] || at_least "$version" 7 || die "the Redis at REDIS_URL is $version; Redis or Valkey 7 or newer is needed"
}

# Starts a private Redis with its data in folder $1 and points REDIS_URL at it, unless REDIS_URL is set already.
start_redis() {
  local data=$1 log="$1/redis.log" attempt
  [ -z "${REDIS_URL:-}" ] || return 0
  mkdir -p "$data" || die "cannot make the folder $data"
  # Retried, because another process may take the port between the check and Redis' bind.
  for attempt in 1 2 3; do
    free_ports 127.0.0.1 1
    if [ "$redis_server" = docker ]; then
      set -- docker run --rm --name "rollcall-redis-$first_port" --user "$(id -u):$(id -g)" \
        -p "127.0.0.1:$first_port:6379" -v "$data:/data" "$(image_of redis)" redis-server
    else
      set -- "$redis_server" --bind 127.0.0.1 --port "$first_port" --dir "$data"
    fi
    start redis 1 "$@" --save '60 1' >"$log" 2>&1
    if await_redis "$log"; then
      export REDIS_URL="redis://127.0.0.1:$first_port"
      say "redis is ready at 127.0.0.1:$first_port (data and log in $data)"
      return 0
    fi
  done
  die "$redis_server does not start after $attempt attempts; its log is $log"
}

# Its log shows when it is ready: a PING could be answered by another process that took the port first.
await_redis() {
  local deadline=$((SECONDS + 30))
  while [ $SECONDS -lt $deadline ] && lives redis 1; do
    grep -q 'Ready to accept connections' "$1" && return 0
    sleep 0.1
    leave_if_asked
  done
  return 1
}
