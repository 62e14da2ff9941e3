// A master dies, and after the usual production timeout its replica takes over, a moment behind: no one is sent a leave, and
// gateways restore what the replica lacks.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Child, temporaryFolder } from '../harness/child.mjs';
import { RedisCluster } from '../harness/cluster.mjs';
import { Soak } from '../harness/soak.mjs';
import { roomKey } from '../harness/keys.mjs';
import { freePort, Redis } from '../harness/redis.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const CLUSTER_MS = 15_000;
const SENTINEL_MS = 30_000;
const BACK_MS = 60_000;

const PatientCluster = { start: (options) => RedisCluster.start({ ...options, timeoutMs: CLUSTER_MS }) };

// Its replica receives nothing more, and continues where it was when it is resumed.
async function fallBehind(master, replica) {
  replica.pause();
  await master.command('CLIENT', 'KILL', 'TYPE', 'replica');
}

// Patches before and after the moment at which the replica stops receiving; then the failover, after which everything is as the
// members had it.
async function failOver(soak, { lag, fail }) {
  await soak.patch(1);
  await lag();
  await soak.patch(2);
  await fail();
  await holds('no one is sent a leave', () => !soak.anyoneLeft, { ms: 3000 });
  for (const member of soak.members) {
    await until('a plain heartbeat to be answered well', async () => (await member.ask('presence:heartbeat', {})).ok, { within: BACK_MS, every: 250 });
  }
  await holds('no leave comes late', () => !soak.anyoneLeft, { ms: 14_000 });
  await soak.assertUnharmed({ locks: false });
  for (const { roster } of soak.members) for (const { state } of roster.members.values()) assert.equal(state.n, 2);
  await soak.patch(3, BACK_MS);
}

const OPTIONS = { gateways: 3, states: 2, reapers: 2 };

scenario('the master of the directory is lost on a cluster', { ...OPTIONS, redis: PatientCluster }, async ({ system, room }) => {
  const soak = await Soak.start(system, room);
  const master = await system.redis.masterOf('prs:{directory}:leases');
  await failOver(soak, { lag: () => {}, fail: () => system.redis.lose(master) });
  await soak.assertUnharmed();
}, { within: 240_000 });

scenario('the master of rooms is lost on a cluster, and its replica is behind', { ...OPTIONS, redis: PatientCluster }, async ({ system, room }) => {
  const soak = await Soak.start(system, room);
  const master = await system.redis.masterOf(roomKey(soak.room(0)));
  const replica = await system.redis.replicaOf(master);
  await failOver(soak, {
    lag: () => fallBehind(master, replica),
    fail: async () => {
      const lost = system.redis.lose(master);
      replica.resume();
      await lost;
    },
  });
}, { within: 240_000 });

// One master and one replica, watched by a Sentinel.
class Watched {
  static async start() {
    const watched = new Watched();
    watched.master = await Redis.start();
    watched.replica = new Redis(false, await freePort(), { replicaof: `127.0.0.1 ${watched.master.port}`, 'repl-diskless-sync-delay': 0 });
    await watched.replica.restart();
    await until('the replica to follow', async () => /master_link_status:up/.test(await watched.replica.command('INFO', 'replication')), { within: 15_000 });
    watched.port = await freePort();
    const file = join(temporaryFolder('sentinel'), 'sentinel.conf');
    writeFileSync(file, [`port ${watched.port}`, 'bind 127.0.0.1', `dir ${temporaryFolder('sentinel')}`, `sentinel monitor presence 127.0.0.1 ${watched.master.port} 1`,
      `sentinel down-after-milliseconds presence ${SENTINEL_MS}`, ''].join('\n'));
    watched.sentinel = new Child('sentinel', 'redis-server', [file, '--sentinel']);
    await until('Sentinel to know the replica', () => watched.ask('replicas', 'presence').includes(String(watched.replica.port)), { within: 20_000, every: 200 });
    return watched;
  }

  get url() {
    return `redis-sentinel://127.0.0.1:${this.port}/?sentinelServiceName=presence`;
  }

  get child() {
    return this.now.child;
  }

  // The current master.
  get now() {
    return this.master.child.exit ? this.replica : this.master;
  }

  get isUp() {
    return this.now.isUp;
  }

  ask(...args) {
    try {
      return execFileSync('redis-cli', ['-p', this.port, 'SENTINEL', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    } catch {
      return '';
    }
  }

  command(...args) {
    return this.now.command(...args);
  }

  async kill() {
    await Promise.all([this.sentinel.kill(), this.master.kill(), this.replica.kill()]);
  }
}

scenario('the master behind Sentinel is lost, and its replica is behind', { ...OPTIONS, redis: Watched }, async ({ system, room }) => {
  const soak = await Soak.start(system, room);
  const { master, replica } = system.redis;
  await failOver(soak, {
    lag: () => fallBehind(master, replica),
    fail: async () => {
      await master.kill();
      replica.resume();
      await until('Sentinel to name the replica', () => system.redis.ask('get-master-addr-by-name', 'presence').includes(String(replica.port)), { within: 3 * SENTINEL_MS, every: 500 });
    },
  });
}, { within: 240_000 });
