# ./dev lint: formatting, clippy, doc comments, shell scripts, spelling, the direction of dependencies, the crates that are built in
# (deny.toml), and the licences of what is built from Go modules.

lint() {
  [ $# -eq 0 ] || misused "./dev lint takes nothing, not '$1'"
  need_rust
  need_compiler
  run_lint
}

# Runs every check, even if an earlier one fails, and ends with the names of those that failed: what they say may stand far above.
run_lint() {
  local wrong=''
  check cargo fmt --all --check
  check cargo fmt --manifest-path fuzz/Cargo.toml --check
  check cargo clippy --workspace --all-targets -- -D warnings
  check check_doc_comments
  check check_shell
  check check_pipes
  check check_spelling
  check check_architecture
  check check_modules shared/bus/src "$bus_modules"
  check check_modules shared/protocol/src "$protocol_shared client"
  check check_modules shared/protocol/src "$protocol_shared event command envelope"
  check check_modules services/gateway/src "$gateway_modules"
  check check_modules services/gateway/src/auth "$auth_modules"
  check check_modules services/gateway/src/http "$http_modules"
  check check_modules services/gateway/src/relay "$relay_modules"
  check check_modules services/gateway/src/relay/room "$room_modules"
  check check_modules services/gateway/src/socket "$socket_modules"
  check check_crates
  check check_licences
  if [ -n "$wrong" ]; then
    say "lint failed in: $wrong"
    return 1
  fi
}

# check COMMAND…: what it prints is found by its heading.
check() {
  echo "lint: $1 ${2:-}"
  "$@" || wrong="$wrong${wrong:+, }$1 ${2:-}"
}

# Doc comments: links lead somewhere, also those of private items.
check_doc_comments() {
  RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --workspace --no-deps --document-private-items
}

# A program that is missing here is a line that ./dev test counts as skipped.
check_shell() {
  if has shellcheck; then
    # What ./dev sources is checked with it.
    find deploy -name '*.sh' -exec shellcheck -x -a dev .ci/run {} +
  else
    say "the shell scripts are not checked: install shellcheck with your package manager"
    echo "shellcheck: skipped 1"
  fi
}

# With pipefail, "… | grep -q" may be false although the line is there: grep stops reading, and the program that still writes fails.
check_pipes() {
  local early
  early=$(grep -nE '(^|[^|])[|] *grep( +-[A-Za-z-]+)* +(-[A-Za-z]*q|--quiet)' "$@" dev .ci/run scripts/*.sh deploy/*.sh deploy/*/*.sh |
    grep -vE '^[^:]+:[0-9]+: *#') || true
  if [ -n "$early" ]; then
    say "a pipe into grep -q: use grep … <<<\"\$(…)\" instead"
    echo "$early"
    return 1
  fi
}

check_spelling() {
  if has typos; then
    typos
  else
    say "spelling is not checked: cargo install --locked typos-cli"
    echo "typos: skipped 1"
  fi
}

# Licences, sources and duplicate versions of the crates, without the network; and advisories, if their database was fetched. What
# cannot be checked here is a line that ./dev test counts as skipped.
check_crates() {
  local checks='licenses bans sources' skipped=0
  if ! cargo deny --version >/dev/null 2>&1; then
    say "the crates' licences, versions and advisories are not checked: cargo install --locked cargo-deny"
    skipped=1
  else
    if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
      checks="advisories $checks"
    else
      say "the crates' advisories are not checked: cargo deny fetch"
      skipped=1
    fi
    # shellcheck disable=SC2086
    cargo deny --offline check $checks || return 1
  fi
  [ $skipped = 0 ] || echo "crates: skipped $skipped"
}

# The allowed dependencies between the crates of this workspace. Leaves depend on nothing (service starts and flushes telemetry for
# all); services never depend on each other; only crates that use Redis keys know their names.
architecture='
rollcall-protocol:
rollcall-telemetry:
rollcall-testkit:
rollcall-service: rollcall-telemetry
rollcall-keyspace: rollcall-protocol rollcall-telemetry rollcall-service
rollcall-bus: rollcall-protocol rollcall-telemetry rollcall-service rollcall-testkit
rollcall-gateway: rollcall-protocol rollcall-telemetry rollcall-service rollcall-bus rollcall-testkit
rollcall-presence-state: rollcall-protocol rollcall-telemetry rollcall-service rollcall-bus rollcall-keyspace rollcall-testkit
rollcall-reaper: rollcall-protocol rollcall-telemetry rollcall-service rollcall-bus rollcall-keyspace rollcall-testkit
rollcall-bench: rollcall-protocol rollcall-telemetry rollcall-service rollcall-bus
rollcall-token:
'

check_architecture() {
  local tree
  tree=$(cargo tree --workspace --depth 1 --prefix depth --no-dedupe --edges normal,dev,build) || return 1
  printf '%s\n' "$architecture" "$tree" | awk '
    /^[a-z-]+:/ { split($0, rule, ":"); allowed[rule[1]] = rule[2] " "; next }
    !/ \(\// { next }    # an external crate
    { name = substr($1, 2) }
    /^0/ { from = name; if (!(from in allowed)) complain("scripts/lint.sh has no rule for the crate " from) }
    /^1/ { if (!index(allowed[from], " " name " ")) complain(from " may not depend on " name) }
    function complain(text) { print "architecture: " text > "/dev/stderr"; wrong = 1 }
    END { exit wrong }
  '
}

# The parts of the bus in the order of their dependencies: none uses a later part, nor the whole.
bus_modules='clock rendezvous subjects redis script link directory revocations publisher requests inbox'

# What clients are sent and what services send each other do not know each other. Both stand on what they share.
protocol_shared='limits fault ids json position info state'

# The gateway, and inside it what knows rooms and what knows sockets.
gateway_modules='backoff count due_queue flow liveness translate auth http config pending reassert relay socket listener stop revoke'
http_modules='address frames traffic connections connection flows linger timed refusals gate path asset bundle playground requests origins proxies affinity transports slot sessions slim overflow server'
relay_modules='tries room member inbox registry dirty delivery dispatch entering lock_subscription own'
auth_modules='pattern rights strict rejection algorithm key jwk pem fetch jwks file store header claims permit outsiders config verifier access sessions tokens'
room_modules='position roster shown sink publication turn resync subscriber channels lock_board backlog joins recovery events admission catch_up repair reconcile'
socket_modules='task pending_acks outlet ack held op session client verbs member worker disconnect events'

# check_modules FOLDER ORDER: what a module of a crate names by `crate::`, or by as many `super::`, is itself or stands before
# it. lib.rs and other modules that are not in the order wire the parts, and may name all of them.
check_modules() {
  local file verdict=0 tops
  tops=$(find "$1" -mindepth 1 -maxdepth 1 -exec basename {} .rs ';' | tr '\n' ' ')
  while IFS= read -r file; do
    awk -v file="$file" -v folder="$1" -v order="$2" -v tops="$tops" '
      BEGIN {
        for (count = split(order, names, " "); count; count--) rank[names[count]] = count
        for (count = split(tops, names, " "); count; count--) top[names[count]]
      }
      { sub(/\/\/.*/, ""); text = text $0 " " }
      END {
        own = substr(file, length(folder) + 2); sub(/(\/mod)?\.rs$/, "", own)
        depth = gsub(/\//, "/", own) + 1; sub(/\/.*/, "", own)
        if (!(own in rank)) exit
        while (match(text, /(crate|super(::super)*)::/)) {
          before = RSTART > 1 ? substr(text, RSTART - 1, 1) : ""
          way = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH)
          if (before ~ /[A-Za-z_$]/) continue
          # A test inside the file is one level deeper, so what is no part of the crate is a name of its file.
          supers = gsub(/super/, "", way)
          # In a folder inside a crate, `crate::` leads out of it.
          if (!supers && folder !~ /\/src$/) continue
          if (supers && supers < depth) continue
          if (substr(text, 1, 1) != "{") { check(text); continue }
          # use crate::{a::{b, c}, d}: the names of the first level.
          level = 0; name = ""
          for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (c == "{") { if (level++) name = name c; continue }
            if (c == "}" && --level == 0) break
            if (c == "," && level == 1) { check(name); name = "" } else name = name c
          }
          if (name ~ /[A-Za-z]/) check(name)
        }
        exit wrong
      }
      function check(path) {
        gsub(/^ +/, "", path); match(path, /^[A-Za-z_]+/); path = substr(path, 1, RLENGTH)
        if (supers && !(path in top)) return
        if (path in rank && rank[path] <= rank[own]) return
        print "architecture: " file ": " own " may not use crate::" path > "/dev/stderr"; wrong = 1
      }
    ' "$file" || verdict=1
  done < <(find "$1" -name '*.rs')
  return $verdict
}

# The modules that are built as programs (scripts/tools), with their licences. Only listed modules are built. Modules under the AGPL,
# or another licence that obliges anyone who runs the program, are not listed: users install them themselves.
#   FOLDER | MODULE, or a prefix shared by several | LICENCE
licences='
alertmanager | github.com/prometheus/alertmanager | Apache-2.0
helm | helm.sh/helm/v3 | Apache-2.0
jaeger | github.com/jaegertracing/jaeger | Apache-2.0
otelcol-contrib | go.opentelemetry.io/collector | Apache-2.0
otelcol-contrib | github.com/open-telemetry/opentelemetry-collector-contrib | Apache-2.0
prometheus | github.com/prometheus/prometheus | Apache-2.0
'
may_be_built='Apache-2.0 BSD-2-Clause BSD-3-Clause ISC MIT'
# Under the AGPL. Modules next to these, such as grafana/regexp, have other licences.
never_built='grafana/(enterprise-metrics|grafana|loki|mimir|oncall|pyroscope|tempo)'

# Every go.mod of scripts/tools requires only listed modules directly, and no tracked file can build the others.
check_licences() {
  local file verdict=0
  for file in scripts/tools/*/go.mod; do
    printf '%s\n' "$licences" | awk -v folder="$(basename "$(dirname "$file")")" -v may="$may_be_built" -F ' [|] ' '
      FNR == NR && NF == 3 { if ($1 == folder) { listed[$2]; if (!index(" " may " ", " " $3 " ")) complain($2 " is under " $3) } next }
      FNR == NR { next }
      { gsub(/^[ \t]+/, "") }
      /^tool [^(]/ { direct(substr($0, 6)) }
      /^(tool|require) [(]$/ { list = 1; next }
      /^[)]/ { list = 0 }
      /^require [^(]/ { sub(/^require /, ""); if (!/\/\/ indirect/) direct($0) }
      list && !/\/\/ indirect/ { direct($0) }
      function direct(line, words, name, found) {
        split(line, words, " ")
        for (name in listed) if (words[1] == name || index(words[1], name "/") == 1) found = 1
        if (!found) complain(words[1] " is not on the list in scripts/lint.sh")
      }
      function complain(text) { print "licences: scripts/tools/" folder ": " text > "/dev/stderr"; wrong = 1 }
      END { exit wrong }
    ' - "$file" || verdict=1
  done
  if grep -rnE --exclude='*.md' --exclude-dir=node_modules "github\.com/$never_built([^a-z-]|\$)" \
    .ci .github bench deploy dev examples fuzz scripts services shared tests tools ./*.toml ./*.yml ./*.yaml >&2; then
    echo "licences: the lines above name a module that is under the AGPL and must not be built" >&2
    verdict=1
  fi
  return $verdict
}
