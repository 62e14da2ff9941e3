# The release build shared by up, test and bench: one selection of packages, so that no command invalidates another's build.

service_packages="-p rollcall-gateway -p rollcall-presence-state -p rollcall-reaper"

case ${CARGO_TARGET_DIR:-} in
  '') binaries="$PWD/target/release" ;;
  /*) binaries="$CARGO_TARGET_DIR/release" ;;
  *) binaries="$PWD/$CARGO_TARGET_DIR/release" ;;
esac

# Word splitting is intended.
# shellcheck disable=SC2086
build_services() { cargo build --release $service_packages; }

# A gateway without sockets, for the system tests.
build_stand_in() { cargo build --release -p rollcall-bench --bin stand-in; }

# The services as a later version: every message has a field that the current version does not know. Built from a copy of the
# sources, next to the dependencies that cargo has built for the unit tests.
next_binaries="$PWD/.dev/next/bin"
build_next() {
  local next="$PWD/.dev/next" target=${binaries%/release} name
  rm -rf "$next" && mkdir -p "$next/src" "$next_binaries" && cp -R Cargo.toml Cargo.lock shared services bench tools "$next/src/" || return
  sed 's/^ *serde_json::to_string(self)$/serde_json::to_string(self).map(|text| {\
      text.replace("{\\"ids\\":", "{\\"later\\":{\\"a\\":[1]},\\"ids\\":").replacen("{", "{\\"later\\":[{}],", 1)\
    })/' shared/protocol/src/envelope.rs >"$next/src/shared/protocol/src/envelope.rs" || return
  grep -q "to_string(self).map" "$next/src/shared/protocol/src/envelope.rs" || return
  # shellcheck disable=SC2086
  (cd "$next/src" && CARGO_TARGET_DIR="$target" cargo build --locked $service_packages) || return
  # In a folder of their own, so that they are not taken for the current ones.
  for name in presence-gateway presence-state presence-reaper; do mv "$target/debug/$name" "$next_binaries/" || return; done
}
