// The edge of docker-compose.yml as a process: HAProxy with deploy/edge/haproxy.cfg, before gateways of a test instead of those that
// Docker's DNS names.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Child, temporaryFolder } from './child.mjs';
import { program } from './path.mjs';
import { freePort } from './redis.mjs';
import { read } from './repository.mjs';
import { until } from './until.mjs';

const CONFIG = read('deploy/edge/haproxy.cfg');
const VARIABLES = { EDGE_MAX_CONNECTIONS: '1000', GATEWAY_MAX_CONNECTIONS: '500', ADDRESS_HANDSHAKES_PER_S: '100', SOCKET_IO_PATH: '/socket.io' };

// Debian installs it where only root's PATH leads.
const haproxy = program(['haproxy'], ['/usr/sbin', '/usr/local/sbin']);

export const missing = haproxy ? false : 'haproxy is not installed';

export class Edge {
  // `entries`: how many long-polling sessions its table has room for. `wrapper`: what is put before its command, for a limit.
  // `nameServer`: it finds the first gateway by it, as in containers, and no other one.
  static async start(gateways, { env = {}, entries = '1m', wrapper = [], nameServer } = {}) {
    const [port, health, metrics] = [await freePort(), await freePort(), await freePort()];
    const servers = gateways.map(({ url }, index) => `    server gateway${index + 1} ${new URL(url).host}`).join('\n');
    const found = nameServer && [
      [/(?<=^ {4}nameserver docker )\S+$/m, `127.0.0.1:${nameServer.port}`],
      [/(?<=^ {4}server-template .* gateway:)3000/m, new URL(gateways[0].url).port],
    ];
    const edits = [
      ...(found ?? [[/^ {4}server-template .*$/m, servers]]),
      [/^ {4}bind :3000$/m, `    bind 127.0.0.1:${port}`],
      [/^ {4}bind 127\.0\.0\.1:8404$/m, `    bind 127.0.0.1:${health}`],
      [/^ {4}bind :8405$/m, `    bind 127.0.0.1:${metrics}`],
      [/(?<=^ {4}stick-table type string .*size )\S+/m, entries],
    ];
    const text = edits.reduce((config, [what, by]) => {
      if (!what.test(config)) throw new Error(`deploy/edge/haproxy.cfg has no ${what}`);
      return config.replace(what, by);
    }, CONFIG);
    const edge = new Edge();
    const file = join(temporaryFolder('edge'), 'haproxy.cfg');
    writeFileSync(file, text);
    const [command, ...args] = [...wrapper, haproxy, '-db', '-f', file];
    edge.child = new Child('haproxy', command, args, { env: { PATH: process.env.PATH, ...VARIABLES, ...env } });
    edge.url = `http://127.0.0.1:${port}`;
    edge.metrics = `127.0.0.1:${metrics}`;
    try {
      await until('the edge and a gateway', async () => (await edge.get('/readyz')).status === 200, { within: 10_000 });
    } catch (error) {
      const report = edge.child.report();
      await edge.close();
      throw new Error(`the edge did not start\n${report}`, { cause: error });
    }
    return edge;
  }

  async get(path, options = {}) {
    const response = await fetch(this.url + path, { signal: AbortSignal.timeout(5000), ...options });
    return { status: response.status, headers: response.headers, body: await response.text() };
  }

  close() {
    return this.child.kill();
  }
}
