# Run once before Redis, in its image: puts the password where Redis and the services read it. It is that of
# deploy/secrets/redis_password if there is one, else that of the last time, else a new one.
set -eu
given=/given/redis_password kept=/data/redis_password

if [ -e "$given" ]; then
  IFS= read -r password <"$given" || [ -n "$password" ]
elif [ -s "$kept" ]; then
  IFS= read -r password <"$kept"
else
  password=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
fi
case $password in
  '' | *[\"\\]*)
    echo "deploy/secrets/redis_password must have one line, without quotes and backslashes" >&2
    exit 1
    ;;
esac
# Redis and the services are different users; nobody else has this volume.
umask 022
printf '%s\n' "$password" >"$kept.new" && mv "$kept.new" "$kept"
printf 'requirepass "%s"\n' "$password" >/data/redis.conf.new && mv /data/redis.conf.new /data/redis.conf
