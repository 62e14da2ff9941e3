// Expiry: a joined connection that sends no heartbeat loses its record at its TTL, once; a living one never does.
import assert from 'node:assert/strict';

import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { SHORT_LIVES } from '../harness/system.mjs';
import { holds, sleep, until } from '../harness/until.mjs';

const TTL_MS = Number(SHORT_LIVES.PRESENCE_TTL_MS);

const test = sharedSystem({ gateways: 2, states: 2, reapers: 3, env: SHORT_LIVES });

async function livingWatcher(system, room) {
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  const { beats } = watcher.pulse();
  return { watcher, beats };
}

test('an idle connection expires at its TTL with one leave, and a heartbeat brings it back', async ({ system, room }) => {
  const { watcher } = await livingWatcher(system, room);
  const idle = await system.connect(1, { follow: false });
  const joinedAt = Date.now();
  const { self } = await idle.join(room, 'idle', { kept: [1] });
  const leave = await watcher.receives({ type: 'leave', connId: idle.connId }, TTL_MS + 3000);
  const after = Date.now() - joinedAt;
  assert.equal(leave.reason, 'expired');
  assert.equal(leave.userLeft, true);
  assert.ok(after >= TTL_MS - 100 && after < TTL_MS + 2000, `expired after ${after} ms`);
  assert.deepEqual(idle.disconnects, [], 'the socket itself stays open');

  await holds('one leave only', () => watcher.count({ type: 'leave' }) === 1, { ms: 1000 });
  const back = await idle.beat();
  assert.equal(back.rejoined, true, JSON.stringify(back));
  assert.equal(back.changed, false);
  assert.ok(back.epoch >= self.epoch, `epoch ${back.epoch} after ${self.epoch}`);
  const { state } = await until('the return', () => watcher.events.filter(({ type, connId }) => type === 'join' && connId === idle.connId)[1]);
  assert.deepEqual(state, { kept: [1] });
  assert.equal((await idle.patch({ n: 1 })).changed, true);
});

test('living connections never expire', async ({ system, room }) => {
  const { watcher, beats } = await livingWatcher(system, room);
  const others = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
    const other = await system.connect(index % 2);
    await other.join(room, `user-${index}`);
    return other.pulse().beats;
  }));
  await watcher.sees(['watcher', ...others.map((_, index) => `user-${index}`)]);
  await holds('no one leaves', () => watcher.count({ type: 'leave' }) === 0, { ms: 3 * TTL_MS });
  for (const { answer } of [...beats, ...others.flat()].filter((beat) => beat.answer)) {
    assert.deepEqual({ ok: answer.ok, changed: answer.changed, rejoined: answer.rejoined }, { ok: true, changed: false, rejoined: undefined });
  }
});

test('a user with a living and an idle tab has not left', async ({ system, room }) => {
  const { watcher } = await livingWatcher(system, room);
  const tabs = [await system.connect(0), await system.connect(1, { follow: false })];
  for (const tab of tabs) await tab.join(room, 'ann');
  tabs[0].pulse();
  const leave = await watcher.receives({ type: 'leave', connId: tabs[1].connId }, TTL_MS + 3000);
  assert.equal(leave.reason, 'expired');
  assert.ok(!leave.userLeft);
  assert.deepEqual(watcher.roster.users(), ['ann', 'watcher']);
});

test('many who expire together leave once each', async ({ system, room }) => {
  const { watcher } = await livingWatcher(system, room);
  const idle = await Promise.all(Array.from({ length: 60 }, async (_, index) => {
    const client = await system.connect(index % 2, { follow: false });
    await client.join(room, `idle-${index}`);
    return client.connId;
  }));
  await until('everyone to leave', () => watcher.count({ type: 'leave' }) >= idle.length, { within: TTL_MS + 5000 });
  await holds('no one leaves twice', () => watcher.count({ type: 'leave' }) === idle.length, { ms: 1500 });
  assert.deepEqual([...new Set(watcher.events.filter(({ type }) => type === 'leave').map(({ reason }) => reason))], ['expired']);
});

scenario('a client whose earlier requests still wait for an answer does not expire', { env: SHORT_LIVES }, async ({ system, room }) => {
  const { watcher } = await livingWatcher(system, room);
  const busy = await system.connect(0);
  await busy.join(room, 'busy');
  system.states[0].pause();
  // Together they wait for longer than a TTL.
  const patches = [1, 2].map((n) => busy.ask('presence:heartbeat', { patchState: { n } }));
  await sleep(TTL_MS + 500);
  // Not a heartbeat, which would restore it at once.
  const look = busy.metadata('getChannel', room, 'T');
  await sleep(100); // until the gateway has it
  system.states[0].resume();
  await Promise.all([...patches, look]);
  busy.pulse();
  await holds('it does not leave', () => watcher.count({ type: 'leave' }) === 0, { ms: 2000 });
});

scenario('an expired member is not restored when Redis may have lost something', { env: SHORT_LIVES }, async ({ system, room }) => {
  const { watcher } = await livingWatcher(system, room);
  const idle = await system.connect(0, { follow: false });
  await idle.join(room, 'idle');
  await watcher.receives({ type: 'leave', connId: idle.connId }, TTL_MS + 3000);
  const [gateway] = system.gateways;
  await system.redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
  await until('the gateway to notice', () => gateway.child.lines.some((line) => line.includes('Redis may have lost changes')));
  await holds('it stays away', () => watcher.roster.members.size === 1, { ms: 3000 });
  assert.equal((await idle.beat()).rejoined, true);
});
