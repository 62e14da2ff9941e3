# ./dev release VERSION: writes the version into every file that names it, and closes the changelog's section of unreleased changes. It
# neither commits, tags nor pushes: it prints the commands.

# Files in which every occurrence of the version is Rollcall's own. Cargo's files have other versions too and are dealt with apart.
release_files() {
  git ls-files README.md .env.example docker-compose.yml docs deploy tests/helm | grep -v '^docs/internals/'
}

release() {
  local new=${1:-} old pattern file today
  [ $# = 1 ] || misused "./dev release takes a version, for example 1.2.3; see ./dev help release"
  [[ $new =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || misused "'$new' is not a version; it must be like 1.2.3 or 1.2.3-rc.1"
  has git && git rev-parse --git-dir >/dev/null 2>&1 || die "this is not a git repository"
  [ -z "$(git status --porcelain)" ] || die "there are changes that are not committed; commit or stash them first"
  old=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
  is_later "$new" "$old" || die "$new is not later than $old, the version in Cargo.toml"
  ! git rev-parse -q --verify "refs/tags/v$new" >/dev/null || die "the tag v$new exists already"
  # Not "unreleased | grep -q": grep would stop reading at the first line, and the pipe fail with sed's SIGPIPE.
  [[ $(unreleased) == *$'\n- '* ]] || die "CHANGELOG.md has nothing under [Unreleased]; write down what users notice"

  stamp Cargo.toml "s/^version = \"${old//./\\.}\"\$/version = \"$new\"/"
  for file in Cargo.lock fuzz/Cargo.lock; do
    stamp "$file" "/^name = \"rollcall-/{n;s/^version = \"${old//./\\.}\"\$/version = \"$new\"/;}"
  done
  pattern="s/(^|[^0-9.])${old//./\\.}([^0-9.]|\$)/\\1$new\\2/g"
  while IFS= read -r file; do stamp "$file" "$pattern"; done < <(release_files)
  today=$(date -u +%F)
  stamp CHANGELOG.md "s/^## \\[Unreleased\\]\$/## [Unreleased]\\
\\
## [$new] - $today/"
  nothing_left "$old"

  git --no-pager diff --stat >&2
  say "the version is $new now. Look at the changes, run ./dev test, and then:"
  printf "git commit -am 'Release %s'\ngit tag -a v%s -m 'Rollcall %s'\n" "$new" "$new" "$new"
}

# is_later NEW OLD, by their numbers. A pre-release comes before its version.
is_later() {
  local new=${1%%-*} old=${2%%-*}
  if [ "$new" = "$old" ]; then
    [ "$1" != "$2" ] && [ "$2" != "$old" ]
  else
    [ "$(printf '%s\n%s\n' "$new" "$old" | sort -t . -k 1,1n -k 2,2n -k 3,3n | tail -n 1)" = "$new" ]
  fi
}

unreleased() { sed -n '/^## \[Unreleased\]$/,/^## \[[0-9]/p' CHANGELOG.md; }

# stamp FILE SCRIPT: sed in place, as every sed can. The file keeps its mode.
stamp() {
  local changed
  changed=$(mktemp) && sed -E "$2" "$1" >"$changed" && cat "$changed" >"$1" && rm -f "$changed" || die "cannot write $1"
}

# Ends with an error if a tracked file still has the old version: it is a new place that release_files does not know. Lists of
# dependencies and the examples of these scripts may name the same version.
nothing_left() {
  local left
  left=$(git grep -nE "(^|[^0-9.])${1//./\\.}([^0-9.]|\$)" -- . ':!CHANGELOG.md' ':!*Cargo.lock' ':!*package-lock.json' ':!*go.sum' \
    ':!*go.mod' ':!*Cargo.toml' ':!*package.json' ':!docs/internals' ':!scripts/help.sh' ':!scripts/release.sh' \
    ':!tests/system/release.test.mjs')
  [ -z "$left" ] || die "these lines still name $1; add their files to scripts/release.sh, or change them:"$'\n'"$left"
}
