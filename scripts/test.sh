# ./dev test.

# run_tests [--install] [unit | system [FILE…] | stack [FILE…] | compose [FILE…] | browser [FILE…] | abuse [ATTACKER…]]: one part, or
# everything but the stack, the containers, the browser and the attackers. Ends with what failed, and the totals of all runners on one
# line.
run_tests() {
  local what=all
  if [ "${1:-}" = --install ]; then install=yes && shift; fi
  [ $# -eq 0 ] || { what=$1 && shift; }
  check_parts "$what" "$@"
  passed=0 failed=0 skipped=0 failures=
  test_logs="$PWD/.dev/test"
  mkdir -p "$test_logs" || die "cannot make the folder $test_logs"
  # In containers everything comes from images.
  if [ "$what" != compose ]; then
    need_rust
    need_compiler "./dev test"
    need_redis_server "./dev test"
  fi
  need_node
  case $what in all | stack | abuse) want_haproxy ;; system) [ $# -gt 0 ] || want_haproxy ;; esac
  if [ "$what" = all ]; then part lint run_lint; fi
  case $what in all | unit) part cargo cargo test --workspace --no-fail-fast ;; esac
  case $what in all | unit) part docs docs_tests ;; esac
  case $what in all | system) part system node_tests system "$@" ;; esac
  # What clients see is the same on a Redis Cluster.
  if [ "$what" = all ]; then part cluster node_tests cluster; fi
  if [ "$what" = stack ]; then
    need_tools || die "nothing to test without these programs; see above for what is missing"
    if [ $# -eq 0 ]; then
      part dashboards dashboard_tests
      part helm helm_tests
    fi
    part stack node_tests stack "$@"
  fi
  if [ "$what" = compose ]; then compose_tests "$@"; fi
  if [ "$what" = browser ]; then part browser node_tests browser "$@"; fi
  if [ "$what" = abuse ]; then part abuse abuse_tests "$@"; fi
  [ -z "$failures" ] || printf '%s\n' "$failures"
  printf '%s passed, %s failed' "$passed" "$failed"
  [ "$skipped" = 0 ] || printf ', %s skipped' "$skipped"
  printf '\n'
  [ "$failed" = 0 ]
}

# Before anything is built: the part, and the files or attackers that are named.
check_parts() {
  local what=$1 name file
  shift
  case $what in
    unit) [ $# -eq 0 ] || misused "./dev test unit takes no names, not '$1'" ;;
    all | system | stack | compose | browser | abuse) ;;
    *) misused "./dev test has no part '$what'; ./dev help test lists them" ;;
  esac
  for name in "$@"; do
    case $what in
      abuse) file="tests/abuse/attackers/$name.mjs" ;;
      *) file="tests/$what/$name.test.mjs" ;;
    esac
    [ -e "$file" ] || misused "there is no $file"
  done
}

# node_tests system|cluster|stack|browser [FILE…]: all of a kind, or tests/KIND/FILE.test.mjs.
node_tests() {
  local kind=$1
  shift
  build_services || return
  # The crowd is built here: the test that starts it has a deadline.
  if [ "$kind" = system ]; then build_stand_in && build_crowd && build_next || return; fi
  cd tests && npm ci || return
  export ROLLCALL_BIN_DIR=$binaries ROLLCALL_NEXT_DIR=$next_binaries ROLLCALL_TOOLS_DIR=$tools_here
  if [ $# -gt 0 ]; then
    set -- "${@/#/$kind/}"
    node --test --test-concurrency=1 --test-reporter=spec "${@/%/.test.mjs}"
  elif [ "$kind" = system ]; then
    npm test
  else
    npm run "$kind"
  fi
}

# Attackers, all or those of these names, each next to honest users. Judged by the clock too, and so apart from the other tests.
abuse_tests() {
  build_services && cd tests && npm ci || return
  # Thousands of connections, each with a file descriptor on both sides.
  ulimit -n "$(ulimit -Hn)" 2>/dev/null
  ROLLCALL_BIN_DIR=$binaries ROLLCALL_ATTACKERS="$*" npm run abuse
}

# The files alone, and with an engine and all images also the system they start.
compose_tests() {
  if [ $# -eq 0 ]; then part compose-files compose_node files; fi
  if need_images; then
    [ $# -gt 0 ] || set -- system variants demo
    part compose compose_node "$@"
  else
    say "compose is skipped: $no_containers"
    skipped=$((skipped + 1))
  fi
}

compose_node() {
  cd tests && npm ci || return
  set -- "${@/#/compose/}"
  node --test --test-concurrency=1 --test-reporter=spec "${@/%/.test.mjs}"
}

# README and pages alone: links, blocks of code, and what the sources say.
docs_tests() { cd tests/docs && npm ci && npm test; }

# Dashboards, rules and pages alone: they type-check, and name only what exists.
dashboard_tests() { cd tests/dashboards && npm ci && PROMTOOL=$tools_here/promtool npm test; }

# The chart: its output is valid for Kubernetes, keeps the documented promises, and is accepted by the services.
helm_tests() {
  need_kubernetes_validate && build_services && cd tests/helm || return
  export ROLLCALL_BIN_DIR=$binaries HELM=$tools_here/helm VALIDATE_PYTHON=$tools_here/kubernetes-validate/bin/python
  node --test --test-concurrency=2 --test-reporter=spec ./*.test.mjs
}

# part NAME COMMAND…: runs it and adds the counts of its runners. A part that broke, or found no test, not even a skipped one,
# counts as a failure.
part() {
  local name=$1 log="$test_logs/$1.log" status=0 counts reason=
  shift
  say "$name"
  ("$@") 2>&1 | tee "$log" || status=$?
  counts=$(count_tests <"$log")
  # shellcheck disable=SC2086
  set -- $counts
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
  if [ "$2" -gt 0 ]; then
    reason="$name: $2 failed"
  elif [ "$status" != 0 ]; then
    reason="$name failed"
  elif [ "$name" != lint ] && [ "$(($1 + $3))" = 0 ]; then
    reason="$name ran no test"
  else
    return
  fi
  [ "$2" -gt 0 ] || failed=$((failed + 1))
  failures+="${failures:+$'\n'}--- $reason ---"$'\n'"$(failed_tests <"$log")"
}

# What a log says about the tests that failed: what the runners repeat at their end, or the last lines if they did not get that far.
failed_tests() {
  awk '
    /^failures:$|failing tests:$/ { inside = 1 }
    /^test result:/ { inside = 0 }
    { last[NR % 30] = $0 }
    inside && ++count <= 200 { print }
    END { if (!count) for (i = NR < 30 ? 1 : NR - 29; i <= NR; i++) print last[i % 30] }
  '
}

# The closing lines of cargo's and of Node's test runners, summed: "PASSED FAILED SKIPPED".
count_tests() {
  awk '
    /^test result:/ { passed += $4; failed += $6; skipped += $8 }
    /^[^ ]+ pass [0-9]+$/ { passed += $3 }
    /^[^ ]+ (fail|cancelled) [0-9]+$/ { failed += $3 }
    /^[^ ]+ (skipped|todo) [0-9]+$/ { skipped += $3 }
    END { print passed + 0, failed + 0, skipped + 0 }
  '
}
