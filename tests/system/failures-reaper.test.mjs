// When reapers die: a newcomer is shown no member of a gateway that is gone, and the remaining work is done when one is back.
import assert from 'node:assert/strict';

import { membersKey } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

// An eviction truce of 10 s begins with each service; a lease lasts 5 s.
const GONE_MS = 20_000;

// A watcher at gateway 0 and others at gateway 1, which is about to die.
async function watchOthers(system, room, count) {
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  const others = await Promise.all(Array.from({ length: count }, async (_, index) => {
    const other = await system.connect(1, { follow: false });
    await other.join(room, `other-${index}`);
    return other.connId;
  }));
  await watcher.sees(['watcher', ...others.map((_, index) => `other-${index}`)]);
  return { watcher, others };
}

const leavesOf = (watcher, connId) => watcher.events.filter((event) => event.type === 'leave' && event.connId === connId);

function assertOneLeaveEach({ watcher, others }) {
  for (const connId of others) {
    const leaves = leavesOf(watcher, connId);
    assert.deepEqual(leaves.map(({ reason }) => reason), ['node_lost'], connId);
  }
}

scenario('kill -9 of every reaper and of a gateway: a newcomer is shown none of its members, elsewhere the leaves come when one is back', { gateways: 2, reapers: 2 }, async ({ system, room }) => {
  const quiet = await watchOthers(system, `${room}-quiet`, 5);
  const watched = await watchOthers(system, room, 5);
  await Promise.all(system.reapers.map((reaper) => reaper.kill()));
  await system.gateways[1].kill();
  const guest = await system.connect(0);
  const look = async () => (await guest.join(room, 'guest')).snapshot.map(({ userId }) => userId).sort();
  await until('the others to disappear', async () => (await look()).join() === 'guest,watcher', { within: GONE_MS });
  await watched.watcher.sees(['guest', 'watcher']);
  assertOneLeaveEach(watched);
  await holds('no one looks at the other room', () => quiet.watcher.count({ type: 'leave' }) === 0, { ms: 2000 });
  await system.addReaper();
  await quiet.watcher.sees(['watcher'], GONE_MS);
  assertOneLeaveEach(quiet);
}, { within: 90_000 });

scenario('more members than one call evicts: a newcomer is shown none of them, and each leave is sent once', { gateways: 2 }, async ({ system, room }) => {
  const watched = await watchOthers(system, room, 450);
  await system.reapers[0].kill();
  await system.gateways[1].kill();
  const guest = await system.connect(0, { follow: false });
  const look = async () => (await guest.join(room, 'guest')).snapshot.length;
  await until('only two to be shown', async () => (await look()) === 2, { within: GONE_MS });
  await until('everyone else to be sent the leaves', async () => {
    await look();
    return watched.watcher.roster.members.size === 2;
  }, { within: 10_000, every: 50 });
  assertOneLeaveEach(watched);
}, { within: 90_000 });

scenario('SIGTERM of one of two reapers: the other one does its work', { gateways: 2, reapers: 2 }, async ({ system, room }) => {
  assert.deepEqual(await system.reapers[0].terminate(), { code: 0, signal: null });
  const watched = await watchOthers(system, room, 5);
  await system.gateways[1].kill();
  await watched.watcher.sees(['watcher'], GONE_MS);
  assertOneLeaveEach(watched);
});

scenario('a reaper killed in the middle of its work: each leaves once', { gateways: 2, reapers: 2 }, async ({ system, room }) => {
  const all = await Promise.all(Array.from({ length: 40 }, (_, index) => watchOthers(system, `${room}-${index}`, 1)));
  await system.gateways[1].kill();
  await until('the first leave', () => all.some(({ watcher }) => watcher.count({ type: 'leave' }) > 0), { within: GONE_MS, every: 1 });
  await system.reapers[0].kill();
  await Promise.all(all.map(({ watcher }) => watcher.sees(['watcher'], GONE_MS)));
  all.forEach(assertOneLeaveEach);
}, { within: 90_000 });

scenario('rooms with overwritten keys do not block other rooms', { gateways: 2 }, async ({ system, room }) => {
  await Promise.all(Array.from({ length: 32 }, async (_, index) => {
    const client = await system.connect(1, { follow: false });
    await client.join(`${room}-broken-${index}`, 'ghost');
    await system.redis.command('DEL', membersKey(`${room}-broken-${index}`));
    await system.redis.command('SET', membersKey(`${room}-broken-${index}`), 'not ours');
  }));
  const watched = await watchOthers(system, room, 3);
  await system.gateways[1].kill();
  await watched.watcher.sees(['watcher'], GONE_MS);
  assertOneLeaveEach(watched);
});
