# ./dev token and ./dev up --auth: tokens for development, signed with a secret that is made on first use.

auth_secret="$PWD/.dev/auth/secret"

build_token() { cargo build --release --quiet -p rollcall-token; }

# make_token OPTION…: prints a token.
make_token() { "$binaries/rollcall-token" --secret-file "$auth_secret" "$@"; }

token() {
  need_rust
  need_compiler
  if [ "${1:-}" = revoke ]; then
    revoke_token "$@"
    return
  fi
  build_token || die "the build failed; see cargo's output above"
  make_token "$@"
}

# Where ./dev up runs, unless REDIS_URL names another Redis.
revoke_token() {
  local known=".dev/${PORT:-3000}/redis-url"
  if [ -z "${REDIS_URL:-}" ]; then
    [ -r "$known" ] || die "there is no ./dev up on port ${PORT:-3000}; set PORT, or REDIS_URL"
    REDIS_URL=$(cat "$known")
  fi
  build_services || die "the build failed; see cargo's output above"
  REDIS_URL=$REDIS_URL "$binaries/presence-gateway" "$@"
}

# Gateways that are started from here on ask for tokens. A setting of the user's own wins.
use_auth() {
  build_token || die "the build failed; see cargo's output above"
  user_token=$(make_token --sub ann --room '**=join,observe,metadata:read,metadata:write,lock' --ttl 86400) ||
    die "cannot make a token; see above"
  export AUTH=jwt JWT_SECRET_FILE="$auth_secret"
  unset JWT_KEYS_FILE JWT_JWKS_URL
}

tell_auth() {
  if [ "$auth" = yes ]; then
    cat <<EOF
  Auth:    clients need a token; the next line is ann's for a day, and ./dev token makes others (docs/reference/auth.md)
  Client:  io('$(url "$PORT")', { auth: { token: '$user_token' } })
EOF
  elif [ "${AUTH:-off}" = off ]; then
    echo "  Auth:    off: anyone may be anyone; ./dev up --auth asks for tokens"
  fi
}
