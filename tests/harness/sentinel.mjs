// A Redis with a replica, watched by three sentinels of the test's own. To a test it is like the single Redis
// (`redis.mjs`) that is master now.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { freePort, Redis } from './redis.mjs';
import { until } from './until.mjs';

const NAME = 'rollcall';
const SENTINELS = 3;
const READY_MS = 30_000;

export class RedisSentinel {
  static async start({ durable = false } = {}) {
    const [master, replica] = await Promise.all([0, 1].map(async () => new Redis(durable, await freePort())));
    const watched = new RedisSentinel([master, replica], []);
    try {
      await master.restart();
      replica.options = { replicaof: `127.0.0.1 ${master.port}` };
      await replica.restart();
      await until('the replica to be in step', async () => /master_link_status:up/.test(await replica.command('INFO', 'replication')), { within: READY_MS });
      watched.sentinels = await Promise.all(Array.from({ length: SENTINELS }, () => startSentinel(master.port)));
      const all = async (sentinel) => {
        const about = await sentinel.command('SENTINEL', 'MASTER', NAME);
        const of = (field) => Number(about[about.indexOf(field) + 1]);
        return of('num-other-sentinels') === SENTINELS - 1 && of('num-slaves') === 1;
      };
      await until('the sentinels to know each other', async () => (await Promise.all(watched.sentinels.map(all))).every(Boolean), { within: READY_MS });
      return watched;
    } catch (error) {
      await watched.kill();
      throw error;
    }
  }

  constructor(servers, sentinels) {
    this.servers = servers;
    this.sentinels = sentinels;
  }

  get url() {
    const [first, ...others] = this.sentinels.map((sentinel) => `127.0.0.1:${sentinel.port}`);
    return `redis-sentinel://${first}?sentinelServiceName=${NAME}${others.map((address) => `&node=${address}`).join('')}`;
  }

  get child() {
    return { report: () => [...this.servers, ...this.sentinels].map((one) => one.child.report()).join('\n') };
  }

  async command(...args) {
    return (await this.master()).command(...args);
  }

  async keys(pattern) {
    return (await this.master()).keys(pattern);
  }

  // The master as the sentinels have it.
  async master() {
    const [, port] = await this.sentinels[0].command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME);
    return this.servers.find((server) => server.port === Number(port));
  }

  // kill -9 of the master; resolves when the sentinels have made its replica the master.
  async lose() {
    const lost = await this.master();
    await lost.kill();
    await until('the sentinels to choose the replica', async () => {
      const master = await this.master();
      return master !== lost && /role:master/.test(await master.command('INFO', 'replication'));
    }, { within: READY_MS, every: 100 });
  }

  async kill() {
    await Promise.all([...this.servers, ...this.sentinels].map((one) => one.child && one.kill()));
  }
}

async function startSentinel(masterPort) {
  const sentinel = new Redis(false, await freePort());
  const file = join(sentinel.folder, 'sentinel.conf');
  writeFileSync(file, [
    `sentinel monitor ${NAME} 127.0.0.1 ${masterPort} 2`,
    `sentinel down-after-milliseconds ${NAME} 1000`,
    `sentinel failover-timeout ${NAME} 5000`,
  ].join('\n'));
  sentinel.configuration = file;
  await sentinel.restart();
  return sentinel;
}
