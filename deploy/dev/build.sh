# The release build that up, test and bench share: one selection of packages, so that no command undoes another's work.

service_packages="-p gateway -p presence-state -p reaper"

case ${CARGO_TARGET_DIR:-} in
  '') binaries="$PWD/target/release" ;;
  /*) binaries="$CARGO_TARGET_DIR/release" ;;
  *) binaries="$PWD/$CARGO_TARGET_DIR/release" ;;
esac

# The list is meant to be split into words.
# shellcheck disable=SC2086
build_services() { cargo build --release $service_packages; }
