# What the commands need on this machine: found, installed, or requested in one sentence. Redis has a file of its own.

# at_least HAVE WANTED: compares two versions by their first two numbers.
at_least() {
  local have_major have_minor want_major want_minor _
  IFS=. read -r have_major have_minor _ <<<"$1.0"
  IFS=. read -r want_major want_minor _ <<<"$2.0"
  [ "$have_major" -gt "$want_major" ] ||
    { [ "$have_major" -eq "$want_major" ] && [ "$have_minor" -ge "$want_minor" ]; }
}

has() { command -v "$1" >/dev/null 2>&1; }

# install APT DNF BREW: installs packages with the available package manager; each argument has the names for that manager.
# Fails without a manager, without permission, and for unknown packages.
install() {
  local root=
  if [ "$(id -u)" != 0 ]; then root=sudo; fi
  # Word splitting is intended: $root may be empty, and a name may be several.
  # shellcheck disable=SC2086
  if has apt-get && has ${root:-env}; then
    say "installing $1 with apt-get"
    $root apt-get update -q && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q $1
  elif has dnf && has ${root:-env}; then
    say "installing $2 with dnf"
    $root dnf install -y -q $2
  elif has brew; then
    say "installing $3 with brew"
    brew install $3
  else
    return 1
  fi >&2
}

need_rust() {
  local have want
  # rustup installs cargo here; a shell that was opened before does not see it yet.
  has cargo || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  has cargo || die "Rust is missing; install it with: curl --proto '=https' -sSf https://sh.rustup.rs | sh"
  have=$(rustc --version 2>/dev/null) || die "Rust has no toolchain here; install one with: rustup default stable"
  have=${have#rustc }
  want=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
  have=${have%% *}
  at_least "$have" "$want" || die "Rust $have is too old, $want is needed; update it with: rustup update stable"
}

# Some crates compile C, and Rust links with the C compiler.
need_compiler() {
  local advice="install gcc or clang with your package manager"
  if [ "$(uname)" = Darwin ]; then
    # macOS ships a cc that only offers to install a compiler.
    xcode-select -p >/dev/null 2>&1 || die "a C compiler is missing; install it with: xcode-select --install"
  elif ! has cc; then
    if has apt-get; then advice="install it with: sudo apt-get install build-essential"; fi
    if has dnf; then advice="install it with: sudo dnf install gcc"; fi
    die "a C compiler is missing; $advice"
  fi
  has make || die "make is missing; install it with your package manager"
}

need_node() {
  local advice="install Node.js 18.19 or newer with npm" have
  if ! has node || ! has npm; then
    install "nodejs npm" "nodejs npm" node || die "Node.js or npm is missing; $advice"
  fi
  have=$(node --version) || die "node does not run; $advice"
  at_least "${have#v}" 18.19 || die "Node.js ${have#v} is too old; $advice"
}
