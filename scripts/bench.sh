# ./dev bench: the load generator on a release build.

bench() {
  local argument arguments=() at=no
  for argument in "$@"; do
    case $argument in
      --install) install=yes ;;
      *) arguments+=("$argument") ;;
    esac
    if [ "$argument" = --at ]; then at=yes; fi
  done
  need_rust
  need_compiler "./dev bench"
  # A system that runs already has its own.
  if [ $at = no ]; then need_redis_server "./dev bench"; fi
  build_services && cargo build --release -p rollcall-bench || die "the build failed; see cargo's output above"
  # Thousands of connections, each with a file descriptor on both sides.
  ulimit -n "$(ulimit -Hn)" 2>/dev/null
  # The collector, if it was built here before; otherwise the cost of telemetry is measured with a sink.
  export ROLLCALL_TOOLS_DIR=$tools_here
  exec "$binaries/rollcall-bench" ${arguments[@]+"${arguments[@]}"}
}
