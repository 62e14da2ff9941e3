# Runs once before Redis, in its image: writes the password where Redis and the services read it. It is that of
# deploy/secrets/redis_password if there is one, else the previous one, else a new one.
set -eu
given=/given/redis_password kept=/data/redis_password

fail() {
  echo "deploy/secrets$1" >&2
  exit 1
}

# An unreadable file is an error, not a missing password.
[ -x /given ] || fail " cannot be entered by user $(id -u), who is Redis: chmod 755 deploy/secrets"
if [ -e "$given" ]; then
  [ -r "$given" ] || fail "/redis_password cannot be read by user $(id -u), who is Redis: chown $(id -u) it, or chmod 644"
  IFS= read -r password <"$given" || : # it may end without a newline
elif [ -s "$kept" ]; then
  IFS= read -r password <"$kept"
else
  password=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
fi
case $password in
  '' | *[\"\\]*)
    fail "/redis_password must have one line, without quotes and backslashes"
    ;;
esac
# Redis and the services are different users; no other container has this volume.
umask 022
printf '%s\n' "$password" >"$kept.new" && mv "$kept.new" "$kept"
printf 'requirepass "%s"\n' "$password" >/data/redis.conf.new && mv /data/redis.conf.new /data/redis.conf
