# ./dev lint: formatting, clippy, the direction of dependencies, and the licences of what is built from Go modules.

# All of them, whatever the first ones find.
lint() {
  local verdict=0
  cargo fmt --all --check || verdict=1
  cargo clippy --workspace --all-targets -- -D warnings || verdict=1
  check_architecture || verdict=1
  check_licences || verdict=1
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
gateway: protocol telemetry service bus testkit
presence-state: protocol telemetry service bus keyspace testkit
reaper: protocol telemetry service bus keyspace testkit
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

# The modules that are built as programs (deploy/tools), and their licences. What is not on the list is not built. A module
# under the AGPL or another licence that obliges anyone who runs the program does not belong here: it is the user's to get.
#   FOLDER | MODULE, or the beginning that several share | LICENCE
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

# Every go.mod of deploy/tools asks directly only for what is listed, and nothing of what is tracked can build the others.
check_licences() {
  local file verdict=0
  for file in deploy/tools/*/go.mod; do
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
        if (!found) complain(words[1] " is not on the list in deploy/dev/lint.sh")
      }
      function complain(text) { print "licences: deploy/tools/" folder ": " text > "/dev/stderr"; wrong = 1 }
      END { exit wrong }
    ' - "$file" || verdict=1
  done
  if grep -rnE --exclude='*.md' --exclude-dir=node_modules "github\.com/$never_built([^a-z-]|\$)" \
    .ci bench deploy dev services shared tests ./*.toml ./*.yml ./*.yaml >&2; then
    echo "licences: the lines above name a module that is under the AGPL and must not be built" >&2
    verdict=1
  fi
  return $verdict
}
