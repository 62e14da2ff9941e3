# ./dev token and ./dev up --auth: tokens for development, signed with a secret that is made on first use.

auth_secret="$PWD/.dev/auth/secret"

build_token() { cargo build --release --quiet -p rollcall-token; }

# make_token OPTION…: prints a token.
make_token() { "$binaries/rollcall-token" --secret-file "$auth_secret" "$@"; }

token() {
  check_token_options "$@"
  need_rust
  need_compiler
  if [ "${1:-}" = revoke ]; then
    revoke_token "$@"
    return
  fi
  build_token || die "the build failed; see cargo's output above"
  make_token "$@"
}

# Before anything is built. What an option's value means is judged by the program.
check_token_options() {
  local revoke='' whom='' where='' seen=' '
  if [ "${1:-}" = revoke ]; then revoke=' revoke' && shift; fi
  while [ $# -gt 0 ]; do
    case $1$seen in
      --room\ *) ;;
      *" $1 "*) misused "$1 is given twice; only --room may be repeated" ;;
    esac
    seen="$seen$1 "
    case $revoke$1 in
      --sub | ' revoke--sub' | ' revoke--jti') whom=yes ;;
      --room) where=yes ;;
      --info | --ttl | --jti) ;;
      *) misused "./dev token$revoke does not take '$1'; see ./dev help token" ;;
    esac
    [ $# -gt 1 ] || misused "$1 takes a value; see ./dev help token"
    shift 2
  done
  if [ -z "$whom" ] && [ -n "$revoke" ]; then misused "./dev token revoke needs --sub or --jti; see ./dev help token"; fi
  [ -n "$whom" ] || misused "./dev token needs --sub, the user; see ./dev help token"
  [ -n "$revoke$where" ] || misused "./dev token needs --room, without which a token allows nothing; see ./dev help token"
}

# In the Redis of the ./dev up on PORT, unless REDIS_URL names another one.
revoke_token() {
  local known
  if [ -z "${REDIS_URL:-}" ]; then
    for known in .dev/run.*/redis-url-"${PORT:-3000}"; do [ ! -r "$known" ] || REDIS_URL=$(cat "$known"); done
    [ -n "${REDIS_URL:-}" ] || die "there is no ./dev up on port ${PORT:-3000}; set PORT, or REDIS_URL"
  fi
  build_services || die "the build failed; see cargo's output above"
  REDIS_URL=$REDIS_URL "$binaries/presence-gateway" "$@"
}

# In the folder of the run, which goes with it.
remember_redis() { printf '%s\n' "$REDIS_URL" >"$run/redis-url-$PORT"; }

# Gateways that are started from here on ask for tokens of this secret. Other settings of tokens would refuse those.
use_auth() {
  build_token || die "the build failed; see cargo's output above"
  user_token=$(make_token --sub ann --room '**=join,observe,metadata:read,metadata:write,lock' --ttl 86400) ||
    die "cannot make a token; see above"
  export AUTH=jwt JWT_SECRET_FILE="$auth_secret" JWT_KEYS_FILE='' JWT_JWKS_URL='' JWT_ISSUER='' JWT_AUDIENCE='' JWT_MAX_AGE_S=86400
}

tell_auth() {
  if [ "$auth" = yes ]; then
    cat <<EOF
  Auth:    clients need a token; the next line is ann's for a day, and ./dev token makes others (docs/reference/auth.md)
  Client:  io('$(url "$PORT")', { auth: { token: '$user_token' } })
EOF
  elif [ "${AUTH:-off}" = off ]; then
    echo "  Auth:    off: any client may claim to be any user; ./dev up --auth asks for tokens"
  fi
}
