// A stand-in for the command `docker`, with an engine that has no image at first. A "container" is a process of this machine: a Redis,
// or something that answers every request on every port that was published.
import { calls, folderOf } from './path.mjs';

const MANIFESTS = `{
   "manifests": [
      {
         "size": 999000000,
         "digest": "sha256:other",
         "platform": {
            "architecture": "other",
            "os": "linux"
         }
      },
      {
         "size": 1000,
         "digest": "sha256:mine",
         "platform": {
            "architecture": "arch",
            "os": "linux"
         }
      }
   ]
}`;

const MANIFEST = `{
   "config": {
      "size": 888000000
   },
   "layers": [
      {
         "size": 20000000
      },
      {
         "size": 21500000
      }
   ]
}`;

const SERVER = `
const { createServer } = require('node:http');
for (const port of process.argv.slice(1)) createServer((_, response) => response.end('{}')).listen(Number(port), '127.0.0.1');
`;

// `pull`: what it does, as a command.
export const engine = ({ pull = 'true' } = {}) => calls('docker', `
state="$(dirname "$0")/.."
known() { [ -e "$state/image-\${1//[\\/:@]/_}" ]; }
case "$1 $2" in
  'image inspect') known "$3"; exit ;;
  'version --format') echo arch; exit ;;
  'manifest inspect') case $3 in *@sha256:mine) cat <<<'${MANIFEST}' ;; *@*) exit 1 ;; *) cat <<<'${MANIFESTS}' ;; esac; exit ;;
  'network create') : >"$state/network"; exit ;;
  'network inspect') [ -e "$state/network" ]; exit ;;
esac
case $1 in
  pull) ${pull} || { echo 'no route to the registry' >&2; exit 1; }; : >"$state/image-\${2//[\\/:@]/_}" ;;
  run)
    ports=()
    while [ $# -gt 0 ]; do
      case $1 in
        -p) ports+=("$(cut -d: -f2 <<<"$2")") && shift ;;
        -v) folder=\${2%%:*} && shift ;;
        redis-server) shift && exec ${folderOf('redis-server')}/redis-server --bind 127.0.0.1 --port "\${ports[0]}" --dir "$folder" "$@" ;;
      esac
      shift
    done
    exec ${process.execPath} -e '${SERVER.replaceAll("'", `'\\''`)}' "\${ports[@]}"
    ;;
esac
`);
