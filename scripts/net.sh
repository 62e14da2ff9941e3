# TCP requests in plain bash (a bare machine may have neither curl nor nc), and the choice of ports.

# ask HOST PORT TEXT: sends TEXT (with printf escapes) and prints the response until the other side closes or is silent for 2 s.
# Fails if nothing listens there.
ask() (
  exec 2>/dev/null
  exec 7<>"/dev/tcp/$1/$2" || exit 1
  printf '%b' "$3" >&7
  while IFS= read -r -t 2 line <&7 || [ -n "$line" ]; do printf '%s\n' "${line%$'\r'}"; done
  :
)

port_in_use() { (exec 2>/dev/null 7<>"/dev/tcp/$1/$2"); }

# Random, so that two clones next to each other do not collide; below the ephemeral ports (and below those of the system tests);
# counted up from there, so that one run never takes a port twice.
last_port=$((10000 + RANDOM % 4500))

# free_ports HOST COUNT: sets first_port to the first of COUNT adjacent ports on which nothing listens.
free_ports() {
  local offset
  while :; do
    first_port=$((last_port + 1)) last_port=$((last_port + $2))
    for ((offset = 0; offset < $2; offset++)); do
      port_in_use "$1" $((first_port + offset)) && continue 2
    done
    return 0
  done
}

# readyz HOST PORT: whether the service there is ready; sets not_ready to its reason if it is not.
readyz() {
  local answer
  not_ready="it does not answer"
  answer=$(ask "$1" "$2" "GET /readyz HTTP/1.0\r\nHost: $1\r\n\r\n") || return 1
  not_ready=${answer##*$'\n'}
  case $answer in HTTP/1.?" 200"*) return 0 ;; esac
  return 1
}

# http_ok HOST PORT PATH: whether a GET is answered 200.
http_ok() {
  case $(ask "$1" "$2" "GET $3 HTTP/1.0\r\nHost: $1\r\n\r\n") in HTTP/1.?" 200"*) return 0 ;; esac
  return 1
}
