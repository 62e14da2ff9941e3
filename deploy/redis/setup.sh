# shellcheck shell=dash
# Runs before Redis, in its image: makes the users of users.acl, and writes each one's password where only its service and
# this script can read it. The password of a service is made at the first start, and kept. That of admin, for people, is the line of
# deploy/secrets/redis_password if there is one, else the previous one, else a new one.
set -eu
root=${SETUP_ROOT:-} # tests have another
given=$root/given/redis_password
# Redis, the services and this script are different users; each service has one of these volumes.
umask 022

fail() {
  echo "deploy/secrets$1" >&2
  exit 1
}

# keep FILE PASSWORD: without a newline, because the collector takes the whole file.
keep() { printf '%s' "$2" >"$1.new" && mv "$1.new" "$1"; }

# The password that is kept for a user, or a new one.
password_of() {
  local kept="$root/secrets/$1/redis_password" password
  if [ -s "$kept" ]; then
    IFS= read -r password <"$kept" || : # a kept one ends without a newline
  else
    password=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
  fi
  printf '%s' "$password"
}

hash_of() { printf '%s' "$1" | sha256sum | cut -d' ' -f1; }

# An unreadable file is an error, not a missing password.
[ -x "$root/given" ] || fail " cannot be entered: chown it to the user as which the containers' root runs"
if [ -e "$given" ]; then
  # It may read the files of every user that Docker does not map away.
  [ -r "$given" ] || fail "/redis_password cannot be read: chown it to the user as which the containers' root runs"
  IFS= read -r admin <"$given" || : # it may end without a newline
  [ -n "$admin" ] || fail "/redis_password must have one line"
else
  admin=$(password_of redis)
fi
keep "$root/secrets/redis/redis_password" "$admin"

hashes="admin=$(hash_of "$admin")"
for user in gateway presence-state reaper collector; do
  password=$(password_of "$user")
  keep "$root/secrets/$user/redis_password" "$password"
  hashes="$hashes $user=$(hash_of "$password")"
done

awk -v hashes="$hashes" -v prefix="$REDIS_KEY_PREFIX" '
  BEGIN { for (count = split(hashes, pairs, " "); count; count--) { split(pairs[count], pair, "="); hash[pair[1]] = pair[2] } }
  /^(#|$)/ { next }
  /^user / { printf "%s", first; first = "\n"; user = $2 }
  { gsub(/PREFIX/, prefix); sub(/PASSWORD/, hash[user]); sub(/^ +/, " "); printf "%s", $0 }
  END { print "" }
' "$root/users.acl" >"$root/secrets/redis/users.acl.new"
# deploy/upgrade.sh sees by its time whether Redis has read it.
if cmp -s "$root/secrets/redis/users.acl.new" "$root/secrets/redis/users.acl"; then
  rm "$root/secrets/redis/users.acl.new"
else
  mv "$root/secrets/redis/users.acl.new" "$root/secrets/redis/users.acl"
fi
