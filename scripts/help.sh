# What ./dev and each of its commands print when asked for help: before anything is needed, built or started.

# wants_help COMMAND ARGUMENT…
wants_help() {
  local argument
  case $1 in '' | help) return 0 ;; esac
  for argument in "$@"; do
    case $argument in -h | --help) return 0 ;; esac
  done
  return 1
}

# help [help] [COMMAND] …: the text of the command, or of all.
help() {
  local argument
  [ "${1:-}" != help ] || shift
  for argument in "$@"; do
    case $argument in
      '' | -*) continue ;;
      all) ;;
      *) if declare -F "help_$argument" >/dev/null; then "help_$argument" && return; fi ;;
    esac
    misused "there is no command '$argument'; ./dev help lists them"
  done
  help_all
}

help_all() {
  cat <<'EOF'
Usage: ./dev COMMAND

  up       build and run all of Rollcall here; Ctrl-C stops it
  token    print a token for ./dev up --auth, or revoke some
  test     formatting, lints, unit and system tests; or one part: unit, system, stack, compose, browser, abuse
  docs     the pages of docs/ as a site
  bench    measure a release build and print a table; or put load on a system that runs already
  lint     formatting, lints, spelling, dependencies and licences
  release  write a version into every file that names it
  help     what a command takes: ./dev help up, or ./dev up --help

Exit codes: 0 it worked, 1 it did not, 2 the command was typed wrong.
EOF
}

help_up() {
  cat <<'EOF'
Usage: ./dev up [OPTION]…

Builds Rollcall, finds a Redis, starts everything on this machine, prints the addresses, and runs until Ctrl-C. The first build takes
5 to 10 min on two cores, the first one with --crowd 2 min more; then all of it starts within three seconds.

  --gateways N     so many gateways, on PORT (3000) and the ports after it; 1 to 99
  --states N       so many presence-state instances; 1 to 99
  --reapers N      so many reapers; 1 to 99
  --auth           clients need a token; prints one, and ./dev token makes others
  --crowd N        so many people who join, type, take locks, leave and are cut off; 1 to 2000. Not with --auth
  --observe        also a collector, Jaeger, Prometheus, Alertmanager, and Loki and Grafana if you have their images:
                   from Docker, which pulls what is missing, else programs on the PATH, else those that were built here
  --observe=build  the same as programs; builds what is missing with Go, once, which takes up to half an hour
  --install        installs Redis and a C compiler with make with the package manager if they are missing. Without this option
                   packages are installed only if CI=true, or for root in a container

Redis: REDIS_URL if it is set, else redis-server or valkey-server 7 or newer on the PATH, else a container.

Variables: PORT (0: any), HOST (0.0.0.0: from other machines too, with --auth), PLAYGROUND (on: a page to try it at /),
OBSERVE_PORTS=any, and every variable of the services.
EOF
}

help_token() {
  cat <<'EOF'
Usage: ./dev token --sub USER --room 'PATTERN=RIGHT,…' [--room …] [--info JSON] [--ttl SECONDS] [--jti ID]
       ./dev token revoke --sub USER | --jti ID

Prints a token for ./dev up --auth, or ends tokens, and the sockets that use them, of the ./dev up on PORT (3000).

  ./dev token --sub ann --room 'doc:*=join,lock'

docs/reference/auth.md explains patterns and rights.
EOF
}

help_test() {
  cat <<'EOF'
Usage: ./dev test [--install] [PART [NAME…]]

Without a part: lint, unit tests, pages, system tests, and those that also run on a Redis Cluster; 30 min on two cores. Ends with what
failed and one line of totals. Times are for two cores, after the first build.

  unit             cargo test --workspace, and the pages by themselves: 6 min
  system [FILE…]   tests/system, with real services and a real Redis: 15 min; one file usually takes less than one minute
  stack [FILE…]    with the real telemetry servers, which are built with Go if they are missing (half an hour, once): 10 min
  compose [FILE…]  runs docker-compose.yml, scales, kills and upgrades it: 5 min, and up to 20 min for the first images
  browser [FILE…]  playground, examples and README's page in a real Chromium, and a tab that is hidden: 5 min
  abuse [NAME…]    attackers (tests/abuse/attackers) next to honest users, with docker-compose.yml's limits; prints a table

  --install        installs Redis, HAProxy, Node.js and a C compiler with make with the package manager if they are missing. Without
                   this option packages are installed only if CI=true, or for root in a container

  ./dev test system presence    runs tests/system/presence.test.mjs
EOF
}

help_bench() {
  cat <<'EOF'
Usage: ./dev bench [--install] [--quick] [--only SCENARIO]…
       ./dev bench --at HOST:PORT… [--connections N] [--room N] [--period-ms N] [--patch-every N] [--seconds N]
       ./dev bench --at HOST:PORT… --crowd PEOPLE

The first form starts what it measures, and compares it with a bare echo server: 5 min, with --quick one. The second puts load on a
system that runs already. The third fills it with people who come and go until Ctrl-C. Linux only.

Scenarios: closed-loop everyday patches idle idle-memory join-storm fan-out loud-room channels growth auth telemetry

  --install   installs Redis and a C compiler with make with the package manager if they are missing
EOF
}

help_docs() {
  cat <<'EOF'
Usage: ./dev docs [--build]

Builds the pages of docs/ as a site with mdbook, and serves it on 127.0.0.1:4000 (DOCS_PORT) until Ctrl-C. Takes some seconds.

  --build   only builds it, to target/docs
EOF
}

help_release() {
  cat <<'EOF'
Usage: ./dev release VERSION

Writes the version into every file that names it, and closes the changelog's section of unreleased changes. Commits, tags and pushes
nothing: it prints the git commands. Needs a clean checkout. Takes some seconds. docs/internals/releasing.md has the whole way.

  ./dev release 1.2.3
EOF
}

help_lint() {
  cat <<'EOF'
Usage: ./dev lint

Formatting, clippy, doc comments, shell scripts, spelling, which crate and module may use which, and the licences of everything that is
built in. Runs every check, even if an earlier one fails. Takes some minutes if nothing was built before. Checks whose program is missing
(cargo-deny, shellcheck, typos) are skipped, and say so.
EOF
}
