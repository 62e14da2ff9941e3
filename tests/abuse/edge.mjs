// The edge of docker-compose.yml, with its own configuration, in front of this machine's gateways.
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Child, temporaryFolder } from '../harness/child.mjs';
import { freePort } from '../harness/redis.mjs';
import { until } from '../harness/until.mjs';

const CONFIGURATION = new URL('../../deploy/edge/haproxy.cfg', import.meta.url);
const ENVIRONMENT = { EDGE_MAX_CONNECTIONS: '8000', GATEWAY_MAX_CONNECTIONS: '7000' };
// In proportion: honest users here are heard of each second, real ones that are idle each 20 s.
const TABLE_ENTRIES = '4k';
// Debian installs it where only root's PATH leads.
const PLACES = [...process.env.PATH.split(':'), '/usr/sbin', '/usr/local/sbin'];

export const haproxy = PLACES.map((folder) => join(folder, 'haproxy')).find((path) => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
});

function replaceOnce(text, pattern, replacement) {
  if (!pattern.test(text)) throw new Error(`${CONFIGURATION} has no longer a line ${pattern}`);
  return text.replace(pattern, replacement);
}

// `wrapper`: what limits its memory.
export async function startEdge(gateways, wrapper) {
  const [port, healthPort] = [await freePort(), await freePort()];
  let text = readFileSync(CONFIGURATION, 'utf8').replace(/(stick-table type string .*size )\d+k/g, `$1${TABLE_ENTRIES}`);
  text = replaceOnce(text, /bind :3000/, `bind 127.0.0.1:${port}`);
  text = replaceOnce(text, /bind 127\.0\.0\.1:8404/, `bind 127.0.0.1:${healthPort}`);
  const server = ({ url }, index) => `    server gateway${index + 1} ${new URL(url).host}`;
  text = replaceOnce(text, /^ *server-template .*$/m, gateways.map(server).join('\n'));
  const file = join(temporaryFolder('edge'), 'haproxy.cfg');
  writeFileSync(file, text);
  const [command, ...args] = [...wrapper, haproxy, '-db', '-f', file];
  const child = new Child('edge', command, args, { env: { ...process.env, ...ENVIRONMENT } });
  const url = `http://127.0.0.1:${port}`;
  await until('the edge to be ready', async () => {
    if (child.exit) throw new Error(child.report());
    return (await fetch(`${url}/readyz`)).status === 200;
  }, { within: 10_000 });
  return { child, url };
}
