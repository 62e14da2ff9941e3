# What the commands need on this machine: found, requested in one sentence, or installed where that is allowed. Redis has a file of
# its own.

# at_least HAVE WANTED: compares two versions by their first two numbers.
at_least() {
  local have_major have_minor want_major want_minor _
  IFS=. read -r have_major have_minor _ <<<"$1.0"
  IFS=. read -r want_major want_minor _ <<<"$2.0"
  [ "$have_major" -gt "$want_major" ] ||
    { [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]; }
}

has() { command -v "$1" >/dev/null 2>&1; }

# --install sets this.
install=no

# Packages are installed where someone asked for it, or where there is no one to ask: in CI, and for root in a container.
may_install() {
  [ $install = yes ] || [ "${CI:-}" = true ] || { [ "$(id -u)" = 0 ] && in_container; }
}

in_container() {
  [ -e /.dockerenv ] || [ -e /run/.containerenv ] || [ -n "${KUBERNETES_SERVICE_HOST:-}" ] ||
    grep -qE '/(docker|kubepods|containerd|lxc)' /proc/1/cgroup 2>/dev/null
}

# packages APT DNF BREW: sets install_command to what installs packages here; each argument has the names for one package manager.
# Fails without a manager. apt finds nothing on a machine that has not fetched its lists yet, as in a fresh container.
packages() {
  local root='sudo '
  if [ "$(id -u)" = 0 ]; then root=; fi
  if has apt-get; then
    install_command="${root}apt-get update && ${root}apt-get install $1"
  elif has dnf; then
    install_command="${root}dnf install $2"
  elif has brew; then
    install_command="brew install $3"
  else
    install_command=
    return 1
  fi
}

# install_packages APT DNF BREW: installs them. Fails if that is not allowed, or does not work.
install_packages() {
  may_install && packages "$@" || return 1
  say "installing packages: $install_command"
  case $install_command in sudo*) has sudo || return 1 ;; esac
  # Word splitting is intended. Without a terminal nothing may ask.
  # shellcheck disable=SC2086
  case $install_command in
    *apt-get*)
      ${install_command%%apt-get*} apt-get update -q &&
        ${install_command%%apt-get*} env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $1
      ;;
    *dnf*) ${install_command%%dnf*} dnf install -y -q $2 ;;
    *) $install_command ;;
  esac >&2
}

# how_to_install OPTION_OF APT DNF BREW: the advice, as part of a sentence. OPTION_OF is the command that takes --install; empty: none.
how_to_install() {
  if packages "${@:2}"; then
    echo "install it with: $install_command${1:+ ($1 --install does that)}"
  else
    echo "install it"
  fi
}

need_rust() {
  local have want rustup="curl --proto '=https' -sSf https://sh.rustup.rs | sh"
  # rustup installs cargo here; a shell that was opened before does not see it yet.
  has cargo || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  has cargo || die "Rust is missing; install it with: $rustup"
  have=$(rustc --version 2>/dev/null) || die "Rust has no toolchain here; install one with: rustup default stable"
  have=${have#rustc }
  want=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
  have=${have%% *}
  if at_least "$have" "$want"; then return; fi
  # What a package manager brought has no rustup.
  has rustup || die "Rust $have is too old, $want is needed; install it with: $rustup"
  die "Rust $have is too old, $want is needed; update it with: rustup update stable"
}

# need_compiler OPTION_OF: some crates compile C, one with a makefile, and Rust links with the C compiler.
need_compiler() {
  if [ "$(uname)" = Darwin ]; then
    # macOS ships a cc that only offers to install a compiler.
    xcode-select -p >/dev/null 2>&1 || die "a C compiler is missing; install it with: xcode-select --install"
  fi
  if has cc && has make; then return; fi
  install_packages build-essential "gcc make" "gcc make" ||
    die "a C compiler or make is missing; $(how_to_install "${1:-}" build-essential "gcc make" "gcc make")"
}

# HAProxy, the edge. Without it its tests are skipped, and counted as skipped. Debian installs it in /usr/sbin, which only root's PATH has.
want_haproxy() {
  if PATH="$PATH:/usr/sbin:/usr/local/sbin" has haproxy || install_packages haproxy haproxy haproxy; then return; fi
  say "the edge is not tested, because HAProxy is missing; $(how_to_install "./dev test" haproxy haproxy haproxy)"
}

need_node() {
  local wanted="Node.js 18.19 or newer with npm is needed" have
  if ! has node || ! has npm; then
    install_packages "nodejs npm" "nodejs npm" node ||
      die "Node.js or npm is missing; $wanted: $(how_to_install "./dev test" "nodejs npm" "nodejs npm" node)"
  fi
  have=$(node --version) || die "node does not run; $wanted"
  at_least "${have#v}" 18.19 || die "Node.js ${have#v} is too old; $wanted: https://nodejs.org/en/download"
}
