// The primary's name moves to a promoted replica, and connections to the demoted one stay open: every service leaves it at once, with
// its commands and its subscription, and no one is sent a leave.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MovingName } from '../harness/moving-name.mjs';
import { freePort, Redis } from '../harness/redis.mjs';
import { System } from '../harness/system.mjs';
import { holds, until } from '../harness/until.mjs';

const MOVED_MS = 5000;

test('after a failover behind a name all three services are at the new primary', { timeout: 120_000 }, async (t) => {
  const first = await Redis.start();
  const second = new Redis(false, await freePort(), { replicaof: `127.0.0.1 ${first.port}`, 'repl-diskless-sync-delay': 0 });
  await first.command('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
  await second.restart();
  const follows = async () => /master_link_status:up/.test(await second.command('INFO', 'replication'));
  await until('the replica to follow', follows, { within: 15_000 });
  const name = await MovingName.of(first.port);
  const system = new System({ url: name.url, child: first.child, kill: () => Promise.all([first.kill(), second.kill()]) }, {});
  t.after(async () => {
    await system.close();
    name.close();
  });
  try {
    await system.addState();
    await Promise.all([system.addReaper(), system.addGateway(), system.addGateway()]);
    const [ann, bob] = await system.connectMany(2);
    await ann.join('room', 'ann');
    await bob.join('room', 'bob', { n: 0 });
    await ann.sees(['ann', 'bob']);
    const before = name.connections(first.port);
    assert.equal(before, 2 * system.services.length, 'two connections of each service');

    await first.command('WAIT', 1, 5000);
    await second.command('REPLICAOF', 'NO', 'ONE');
    name.target = second.port;
    await first.command('REPLICAOF', '127.0.0.1', String(second.port));
    const moved = () => name.connections(second.port) >= before && name.connections(first.port) === 0;
    await until('every connection to be at the new primary', moved, { within: MOVED_MS });
    await Promise.all(system.services.map((service) => service.ready(MOVED_MS)));

    await until('a patch to be taken', async () => (await bob.ask('presence:heartbeat', { patchState: { n: 1 } })).ok);
    await ann.receives({ type: 'update', connId: bob.connId });
    await ann.metadata('setChannel', 'room', 'T', [{ key: 'k', value: 1 }]);
    await until('bob to hear of it', () => bob.changes.length > 0);
    await holds('no one is sent a leave', () => [ann, bob].every((member) => member.count({ type: 'leave' }) === 0), { ms: 14_000 });
    for (const { child } of system.services) {
      const lines = child.lines.filter((line) => line.includes('this server is not the primary'));
      assert.equal(lines.length, 1, `once\n${child.report()}`);
    }
    assert.deepEqual(system.complaints(), []);
  } catch (error) {
    t.diagnostic(system.report());
    throw error;
  }
});
