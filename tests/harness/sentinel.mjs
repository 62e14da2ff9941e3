// A real Sentinel of the test's own, which watches a primary with a replica under the name "presence".
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Child, temporaryFolder } from './child.mjs';
import { findServer, freePort } from './redis.mjs';
import { RespClient } from './resp.mjs';
import { until } from './until.mjs';

const NAME = 'presence';
const KNOWN_MS = 15_000;
const FAILOVER_MS = 20_000;

export class Sentinel {
  // `primary` and `replica` are ports; `lines(name)` go into its configuration: how it and its clients authenticate.
  static async start({ primary, replica, lines }) {
    const port = await freePort();
    const file = join(temporaryFolder('sentinel'), 'sentinel.conf');
    writeFileSync(file, [
      `port ${port}`, 'bind 127.0.0.1', `dir ${temporaryFolder('sentinel')}`, `sentinel monitor ${NAME} 127.0.0.1 ${primary} 1`,
      `sentinel down-after-milliseconds ${NAME} 1000`, `sentinel failover-timeout ${NAME} 5000`, ...lines(NAME), '',
    ].join('\n'));
    const sentinel = new Sentinel(port, new Child('sentinel', findServer(), [file, '--sentinel']));
    await until('Sentinel to know the replica', async () => {
      if (sentinel.child.exit) throw new Error(sentinel.child.report());
      return JSON.stringify(await sentinel.#ask('REPLICAS')).includes(String(replica));
    }, { within: KNOWN_MS });
    return sentinel;
  }

  constructor(port, child) {
    this.port = port;
    this.child = child;
    this.url = `redis-sentinel://127.0.0.1:${port}/?sentinelServiceName=${NAME}`;
  }

  // Resolves once it names the server on this port as the primary.
  async names(port) {
    await until('Sentinel to name the other', async () => (await this.#ask('GET-MASTER-ADDR-BY-NAME'))[1] === String(port), { within: FAILOVER_MS });
  }

  kill() {
    return this.child.kill();
  }

  async #ask(what) {
    this.client ??= await RespClient.connect(this.port);
    return this.client.command('SENTINEL', what, NAME);
  }
}
