# ./dev docs: the pages of docs/ as a site (book.toml).

docs() {
  local serve=yes port=${DOCS_PORT:-4000}
  case $# in
    0) ;;
    *)
      [ "$*" = --build ] || misused "./dev docs takes --build, not '$*'; see ./dev help docs"
      serve=no
      ;;
  esac
  has mdbook || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  has mdbook || die "mdbook is missing; install it with: cargo install --locked mdbook (it takes some minutes)"
  need_node
  if [ $serve = no ]; then
    mdbook build && say "the pages are in target/docs; begin with target/docs/index.html"
    return
  fi
  if port_in_use 127.0.0.1 "$port"; then die "port $port is in use; choose another: DOCS_PORT=$((port + 1000)) ./dev docs"; fi
  exec mdbook serve --hostname 127.0.0.1 --port "$port"
}
