// When reapers die: who joins is shown no stale member, and what they did not do is done when one is back.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { SHORT_LIVES } from '../harness/system.mjs';
import { holds, until } from '../harness/until.mjs';

const TTL_MS = Number(SHORT_LIVES.PRESENCE_TTL_MS);

// A watcher that lives, and an idle connection that will outlive its record.
async function watchIdle(system, room) {
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  watcher.pulse();
  const idle = await system.connect(0, { follow: false });
  await idle.join(room, 'idle');
  await watcher.hears({ type: 'join', userId: 'idle' });
  return { watcher, idle };
}

const leavesOf = (watcher, connId) => watcher.events.filter((event) => event.type === 'leave' && event.connId === connId);

scenario('kill -9 of every reaper: who joins is shown nobody stale, elsewhere the leave comes when one is back', { reapers: 2, env: SHORT_LIVES }, async ({ system, room }) => {
  await Promise.all(system.reapers.map((reaper) => reaper.kill()));
  const quiet = await watchIdle(system, `${room}-quiet`);
  const { watcher, idle } = await watchIdle(system, room);
  const guest = await system.connect(0);
  const look = async () => (await guest.join(room, 'guest')).snapshot.map(({ userId }) => userId).sort();
  await until('idle is no longer shown', async () => !(await look()).includes('idle'), { within: TTL_MS + 1000 });
  const leave = await watcher.hears({ type: 'leave', connId: idle.connId });
  assert.equal(leave.reason, 'expired');
  await holds('idle stays away, the watcher stays', async () => (await look()).join() === 'guest,watcher', { ms: 1500, every: 100 });

  assert.equal(leavesOf(quiet.watcher, quiet.idle.connId).length, 0, 'nobody looked there');
  await system.addReaper();
  assert.equal((await quiet.watcher.hears({ type: 'leave', connId: quiet.idle.connId })).reason, 'expired');
  await holds('one leave only', () => leavesOf(watcher, idle.connId).length === 1 && leavesOf(quiet.watcher, quiet.idle.connId).length === 1, { ms: 1500 });
});

scenario('SIGTERM of one of two reapers: the other one does its work', { reapers: 2, env: SHORT_LIVES }, async ({ system, room }) => {
  assert.deepEqual(await system.reapers[0].terminate(), { code: 0, signal: null });
  const { watcher, idle } = await watchIdle(system, room);
  const leave = await watcher.hears({ type: 'leave', connId: idle.connId }, TTL_MS + 3000);
  assert.equal(leave.reason, 'expired');
});

scenario('a reaper killed in the middle of its work: each leaves once', { reapers: 2, env: SHORT_LIVES }, async ({ system, room }) => {
  const { watcher } = await watchIdle(system, room);
  const idle = await Promise.all(Array.from({ length: 40 }, async (_, index) => {
    const client = await system.connect(0, { follow: false });
    await client.join(room, `idle-${index}`);
    return client.connId;
  }));
  await watcher.hears({ type: 'leave' }, TTL_MS + 3000);
  await system.reapers[0].kill();
  await watcher.sees(['watcher'], TTL_MS + 8000);
  await holds('one leave each', () => idle.every((connId) => leavesOf(watcher, connId).length === 1), { ms: 1000 });
});

scenario('rooms whose keys somebody overwrote keep no other room waiting', { env: SHORT_LIVES }, async ({ system, room }) => {
  const broken = Array.from({ length: 32 }, (_, index) => `${room}-broken-${index}`);
  await Promise.all(broken.map(async (name, index) => {
    const client = await system.connect(0, { follow: false });
    await client.join(name, 'silent');
    await system.redis.command('SET', `prs:{room:${name}}:${index % 2 === 0 ? 'conns' : 'last_seen'}`, 'not ours');
  }));
  const { watcher, idle } = await watchIdle(system, room);
  const leave = await watcher.hears({ type: 'leave', connId: idle.connId }, TTL_MS + 3000);
  assert.equal(leave.reason, 'expired');
});
