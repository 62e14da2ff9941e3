# The telemetry servers and Helm as programs: on the PATH if they are new enough, else in a cache, else built into it
# from scripts/tools (README.md there). Knows nothing of what they are used for.

# A folder of links to the programs, for the tests.
tools_here="$PWD/.dev/tools"
tools_cache="${XDG_CACHE_HOME:-$HOME/.cache}/rollcall"

# The pinned tools, and the oldest versions on a PATH that accept the shipped files.
#   NAME | MODULE whose version in go.mod is that of the tool | OLDEST | PROGRAMS
tools='
otelcol-contrib | go.opentelemetry.io/collector/otelcol | 0.159 | otelcol-contrib
jaeger | github.com/jaegertracing/jaeger | 2.10 | jaeger
prometheus | github.com/prometheus/prometheus | 3.5 | prometheus promtool
alertmanager | github.com/prometheus/alertmanager | 0.25 | alertmanager
helm | helm.sh/helm/v3 | 3.17 | helm
'

# tool NAME [PROGRAM]: sets program to the path of the tool (or of one of its other programs), found or built. Fails,
# with one sentence about what is missing, if neither works.
tool() {
  local folder
  if find_tool "$@"; then return 0; fi
  build_tool "$1" "$tools_cache/$folder" || return 1
  tool_source "$1" >"$tools_cache/$folder/made-of"
}

# find_tool NAME [PROGRAM]: the same without building. Sets folder to the name of its folder in the cache, too.
find_tool() {
  local name=$1 what=${2:-$1} row module oldest
  row=$(grep "^$name |" <<<"$tools") || die "there is no tool '$name'"
  IFS='|' read -r _ module oldest _ <<<"$row"
  module=${module// /} oldest=${oldest// /}
  if tool_on_path "$what" "$oldest"; then return 0; fi
  tool_folder "$name" "$module"
  program="$tools_cache/$folder/$what"
  [ -x "$program" ] && [ "$(cat "$tools_cache/$folder/made-of" 2>/dev/null)" = "$(tool_source "$name")" ]
}

# find_loki: sets program to the path of Loki 3.4 or newer. Loki is under the AGPL: it is never built here, only used
# if the user has it, on the PATH or as an image, from which the program is copied into the cache. Fails if there is neither, or if
# the image's program does not run on this system.
find_loki() {
  local image folder container status=0
  if tool_on_path loki 3.4; then return 0; fi
  image=$(image_of loki) folder="$tools_cache/loki-${image##*:}" program="$folder/loki"
  if ! image_is_here "$image"; then return 1; fi
  if [ ! -x "$program" ]; then
    mkdir -p "$folder" && container=$(docker create "$image") || return 1
    docker cp "$container:/usr/bin/loki" "$program" >/dev/null 2>&1 || status=1
    docker rm "$container" >/dev/null
    [ $status = 0 ] || return 1
  fi
  "$program" -version >/dev/null 2>&1
}

# How to get a program that is never built here.
advice_for() {
  case $1 in
    loki) echo "to have it, put loki on the PATH or run: docker pull $(image_of loki)" ;;
    *) echo "to have it, run: docker pull $(image_of "$1")" ;;
  esac
}

# Debian calls it prometheus-alertmanager; everything else is called by its own name.
tool_on_path() {
  local name version
  for name in "$1" "prometheus-$1"; do
    has "$name" || continue
    version=$({ "$name" --version || "$name" version; } 2>&1 |
      sed -n 's/.*[vV]ersion[": ,]*v*\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | sed 1q)
    if at_least "${version:-0}" "$2"; then
      program=$(command -v "$name")
      return 0
    fi
  done
  return 1
}

# tool_folder NAME MODULE: sets folder to NAME-VERSION.
tool_folder() {
  local version
  version=$(sed -n "s|^\(require\)\{0,1\}[[:space:]]*$2 v\([^ ]*\).*|\2|p" "scripts/tools/$1/go.mod")
  folder="$1-$version"
}

# Changes when the sources of the build change, even under the same version.
tool_source() { cat "scripts/tools/$1"/* | cksum; }

# Go from before 1.21 cannot fetch a newer one by itself.
go_fits() { has go && at_least "$(go env GOVERSION | sed 's/^go//')" 1.21; }

build_tool() {
  local name=$1 target=$2 packages refused
  go_fits || {
    say "$name is missing: install it, or Go 1.26 or newer, with which it is built (https://go.dev/dl)"
    return 1
  }
  say "building $name into $target (once; it takes some minutes)"
  mkdir -p "$target" || return 1
  packages=$(awk '$1 == "tool" && $2 != "(" { print $2 } /^tool \($/ { list = 1; next } /^\)/ { list = 0 } list { print $1 }' \
    "scripts/tools/$name/go.mod")
  # Word splitting is intended: Prometheus has two programs. -mod=readonly: modules that go.sum does not list are not built.
  # remove_all_sd, a tag of Prometheus alone, leaves out the service discoveries of clouds and their large libraries.
  # shellcheck disable=SC2086
  if refused=$(agpl_modules "$name" ${packages:-.}); [ -n "$refused" ]; then
    say "$name is not built, because it would contain modules under the AGPL: $refused"
    return 1
  fi
  # shellcheck disable=SC2086
  if ! (cd "scripts/tools/$name" && GOFLAGS='-mod=readonly -buildvcs=false -tags=remove_all_sd' go build -trimpath -ldflags='-s -w' \
    -o "$target/" ${packages:-.}) >"$target/build.log" 2>&1; then
    say "$name cannot be built; see $target/build.log"
    return 1
  fi
  [ -x "$target/$name" ]
}

# agpl_modules NAME PACKAGE…: the folders of a program's modules under the AGPL, by the title of the licence. The list in lint.sh
# covers direct requirements; this finds indirect ones.
agpl_modules() {
  local folder
  (cd "scripts/tools/$1" && shift && GOFLAGS='-mod=readonly -tags=remove_all_sd' go list -deps -f '{{with .Module}}{{.Dir}}{{end}}' "$@" 2>/dev/null) |
    sort -u | while read -r folder; do
    if grep -qi affero <<<"$(cat "$folder"/LICEN[CS]E* 2>/dev/null | sed -n 1,5p)"; then echo "$folder"; fi
  done
}

# All tools, linked in one folder; one after the other, because builds need the whole machine. Loki only if the user has it: its
# tests are skipped, and counted, if it is missing.
need_tools() {
  local name programs what
  mkdir -p "$tools_here" || return 1
  if find_loki; then
    ln -sf "$program" "$tools_here/loki"
  else
    rm -f "$tools_here/loki"
    say "Loki is missing: its tests are skipped and counted; $(advice_for loki)"
  fi
  while IFS='|' read -r name _ _ programs; do
    for what in $programs; do
      tool "${name// /}" "$what" && ln -sf "$program" "$tools_here/$what" || return 1
    done
  done <<<"$tools"
}

# Python for checking the chart's objects, with the packages of scripts/tools/kubernetes-validate in the cache.
need_kubernetes_validate() {
  local name=kubernetes-validate list version target
  list=scripts/tools/$name/requirements.txt
  version=$(sed -n "s/^$name==//p" "$list")
  target="$tools_cache/$name-$version"
  if [ "$(cat "$target/made-of" 2>/dev/null)" != "$(tool_source "$name")" ] || ! "$target/bin/python" -c '' 2>/dev/null; then
    python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
      say "$name is missing, for which Python 3.11 or newer with venv is needed (on Debian: apt-get install python3-venv)"
      return 1
    }
    say "installing $name into $target (once)"
    mkdir -p "$target" || return 1
    if ! { python3 -m venv --clear "$target" && "$target/bin/pip" install --no-input --disable-pip-version-check \
      -r "$list"; } >"$target.log" 2>&1; then
      say "$name cannot be installed; see $target.log"
      return 1
    fi
    tool_source "$name" >"$target/made-of"
  fi
  mkdir -p "$tools_here" && ln -sfn "$target" "$tools_here/$name"
}
