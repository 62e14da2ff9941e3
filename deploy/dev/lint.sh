# ./dev lint: formatting, clippy, and the direction of dependencies.

# All three, whatever the first ones find.
lint() {
  local verdict=0
  cargo fmt --all --check || verdict=1
  cargo clippy --workspace --all-targets -- -D warnings || verdict=1
  check_architecture || verdict=1
  return $verdict
}

# Who may depend on which crates of this workspace. Leaves stand alone (but service starts and flushes telemetry for
# everyone); services never know each other; the names of Redis keys are known to those who touch them.
architecture='
protocol:
telemetry:
testkit:
service: telemetry
keyspace: protocol telemetry service
bus: protocol telemetry service testkit
gateway: protocol telemetry service bus
presence-state: protocol telemetry service bus keyspace testkit
reaper: protocol telemetry service bus keyspace
bench: protocol telemetry service bus
'

check_architecture() {
  local tree
  tree=$(cargo tree --workspace --depth 1 --prefix depth --no-dedupe --edges normal,dev,build) || return 1
  printf '%s\n' "$architecture" "$tree" | awk '
    /^[a-z-]+:/ { split($0, rule, ":"); allowed[rule[1]] = rule[2] " "; next }
    !/ \(\// { next }    # a crate of someone else
    { name = substr($1, 2) }
    /^0/ { from = name; if (!(from in allowed)) complain("deploy/dev/lint.sh has no rule for the crate " from) }
    /^1/ { if (!index(allowed[from], " " name " ")) complain(from " may not depend on " name) }
    function complain(text) { print "architecture: " text > "/dev/stderr"; wrong = 1 }
    END { exit wrong }
  '
}
