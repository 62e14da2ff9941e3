// Heartbeats: epochs that fence, order, records that come back, and no claim that Redis does not know.
import assert from 'node:assert/strict';

import { membersKey, roomKey, storedMembers } from '../harness/keys.mjs';
import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const MAX_EPOCH = 2 ** 52;

const test = sharedSystem({ gateways: 2, states: 2 });

// A member's entry in a fresh snapshot; `watcher` joins its own room again to get one.
async function look(watcher, room, userId) {
  const { snapshot } = await watcher.join(room, 'watcher');
  return snapshot.find((member) => member.userId === userId);
}

async function annAndWatcher(system, room) {
  const ann = await system.connect(0);
  const watcher = await system.connect(1);
  const { self } = await ann.join(room, 'ann', { n: 0 });
  await watcher.join(room, 'watcher');
  return { ann, watcher, epoch: self.epoch };
}

test('a lower epoch is stale: it changes nothing', async ({ system, room }) => {
  const { ann, watcher, epoch } = await annAndWatcher(system, room);
  const stale = { ok: true, changed: false, stale: true, epoch };
  assert.deepEqual(await ann.beat({ epoch: epoch - 1 }), stale);
  assert.deepEqual(await ann.beat({ epoch: 0, patchState: { n: 1 } }), stale);
  assert.deepEqual((await look(watcher, room, 'ann')).state, { n: 0 });
  assert.equal(watcher.count({ type: 'update', userId: 'ann' }), 0);
  assert.deepEqual(await ann.beat({ epoch }), { ok: true, changed: false, epoch });
});

test('a higher epoch is adopted, and fences the lower one', async ({ system, room }) => {
  const { ann, watcher, epoch } = await annAndWatcher(system, room);
  assert.deepEqual(await ann.beat({ epoch: epoch + 10 }), { ok: true, changed: false, epoch: epoch + 10 });
  assert.equal((await look(watcher, room, 'ann')).epoch, epoch + 10);
  assert.equal((await ann.beat({ epoch })).stale, true);
  assert.deepEqual(await ann.beat(), { ok: true, changed: false, epoch: epoch + 10 });
  assert.deepEqual(await ann.beat({ epoch: epoch + 11, patchState: { n: 1 } }), { ok: true, changed: true, epoch: epoch + 11 });
  assert.equal((await watcher.receives({ type: 'update', connId: ann.connId })).epoch, epoch + 11);
});

test('the epoch of a rejoin is above every adopted one', async ({ system, room }) => {
  const { ann } = await annAndWatcher(system, room);
  await ann.beat({ epoch: MAX_EPOCH });
  const { self } = await ann.join(room, 'ann');
  assert.ok(self.epoch > MAX_EPOCH, `${self.epoch}`);
  assert.equal((await ann.beat({ epoch: MAX_EPOCH })).stale, true);
});

test('an epoch above every adoptable one is accepted from the client that was sent it', async ({ system, room }) => {
  const { ann, watcher } = await annAndWatcher(system, room);
  await ann.beat({ epoch: MAX_EPOCH });
  const { self: { epoch } } = await ann.join(room, 'ann', { n: 0 });
  assert.deepEqual(await ann.beat({ epoch }), { ok: true, changed: false, epoch });
  assert.deepEqual(await ann.beat({ epoch, patchState: { n: 1 } }), { ok: true, changed: true, epoch });
  const point = JSON.parse(await ann.askRaw('presence:heartbeat', `{"epoch":${epoch}.0,"patchState":{"n":2}}`));
  assert.deepEqual(point, { ok: true, changed: true, epoch });
  const stored = await look(watcher, room, 'ann');
  assert.deepEqual([stored.epoch, stored.state], [epoch, { n: 2 }]);
});

test('lastSeenMs is when the gateway last held its lease: younger than 1.5 s, heartbeats or not', async ({ system, room }) => {
  for (const [index, silent] of (await system.connectMany(6)).entries()) await silent.join(room, `silent-${index}`);
  const watcher = await system.connect(1);
  const ages = [];
  await holds('everyone is seen', async () => {
    const askedAt = Date.now();
    const { snapshot } = await watcher.join(room, 'watcher');
    ages.push(...snapshot.map(({ lastSeenMs }) => askedAt - lastSeenMs));
    return true;
  }, { ms: 6000, every: 37 });
  assert.ok(ages.length > 300, `only ${ages.length} looks`);
  assert.ok(Math.max(...ages) <= 1500, `lastSeenMs was ${Math.max(...ages)} ms old`);
});

test('heartbeats of one socket are handled in the order in which they were sent', async ({ system, room }) => {
  const { ann, watcher, epoch } = await annAndWatcher(system, room);
  const answers = [];
  const sent = Array.from({ length: 30 }, (_, n) => {
    const payload = n % 3 === 2 ? {} : { patchState: { n: n + 1 } };
    return ann.beat(payload).then((answer) => answers.push({ n, ...answer }));
  });
  await Promise.all(sent);
  assert.deepEqual(answers, Array.from({ length: 30 }, (_, n) => ({ n, ok: true, changed: n % 3 !== 2, epoch })));
  await watcher.receives({ type: 'update', connId: ann.connId, seq: ann.roster.seq });
  const received = watcher.events.filter(({ type, connId }) => type === 'update' && connId === ann.connId);
  assert.deepEqual(received.map(({ state }) => state.n), received.map(({ state }) => state.n).sort((a, b) => a - b));
  assert.equal(received.at(-1).state.n, 29);
});

test('join, patches and leave sent at once are handled in order', async ({ system, room }) => {
  const ann = await system.connect(0);
  const asked = [
    ann.ask('presence:heartbeat', {}),
    ann.ask('presence:join', { roomId: room, userId: 'ann', state: { n: 0 } }),
    ann.ask('presence:heartbeat', { patchState: { n: 1 } }),
    ann.ask('presence:leave'),
    ann.ask('presence:heartbeat', { patchState: { n: 2 } }),
    ann.ask('presence:join', { roomId: room, userId: 'ann', state: { n: 3 } }),
    ann.ask('presence:heartbeat', {}),
  ];
  const answers = await Promise.all(asked);
  assert.deepEqual(answers.map(({ ok, code }) => code ?? ok), ['NOT_JOINED', true, true, true, 'NOT_JOINED', true, true]);
  assert.deepEqual(answers[5].snapshot.map(({ state }) => state), [{ n: 3 }]);
});

test('two sockets patching at once lose nothing', async ({ system, room }) => {
  const writers = [await system.connect(0), await system.connect(1)];
  for (const writer of writers) await writer.join(room, 'ann');
  await Promise.all(writers.map(async (writer, index) => {
    for (let n = 0; n < 150; n += 1) await writer.patch({ [`w${index}k${n % 50}`]: n });
  }));
  const expected = (index) => Object.fromEntries(Array.from({ length: 50 }, (_, k) => [`w${index}k${k}`, 100 + k]));
  const watcher = await system.connect(1);
  await watcher.join(room, 'watcher');
  for (const [index, writer] of writers.entries()) {
    assert.deepEqual(watcher.roster.members.get(writer.connId).state, expected(index));
  }
  for (const writer of writers) {
    await until('every update', () => writer.count({ type: 'update' }) === 300);
  }
});

// A watcher that is not checked: a snapshot lacks members that Redis has lost, while earlier members still see them.
function unjudgedWatcher(system) {
  return system.connect(1, { follow: false });
}

// Deletes everything that Redis has of one connection; the room and its other members stay as they were.
async function loseRecord(redis, room, { connId }, userId) {
  const { gateway } = (await storedMembers(redis, room)).get(connId);
  assert.equal(await redis.command('HDEL', membersKey(room), connId), 1);
  assert.equal(await redis.command('HDEL', roomKey(room), `u:${userId}`), 1);
  await redis.command('HINCRBY', roomKey(room), `g:${gateway}`, '-1');
}

test('a patch restores a record that Redis has lost, and is kept', async ({ system, room }) => {
  const { ann, epoch } = await annAndWatcher(system, room);
  const watcher = await unjudgedWatcher(system);
  await loseRecord(system.redis, room, ann, 'ann');
  const answer = await ann.patch({ m: 9007199254740991 });
  assert.equal(answer.rejoined, true, JSON.stringify(answer));
  assert.ok(answer.epoch >= epoch);
  const { state } = await look(watcher, room, 'ann');
  assert.deepEqual(state, { n: 0, m: 9007199254740991 });
});

// Each of these is one loss; all of them are found by the same round of audits, which takes a minute.
scenario('what Redis lost of a room, whichever key it was, comes back by itself within a minute, and no one is sent a leave', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const losses = {
    record: (id, [ann]) => loseRecord(system.redis, id, ann, 'ann'),
    room: (id) => system.redis.command('DEL', roomKey(id)),
    members: (id) => system.redis.command('DEL', membersKey(id)),
    both: (id) => system.redis.command('DEL', roomKey(id), membersKey(id)),
  };
  const all = await Promise.all(Object.entries(losses).map(async ([name, lose]) => {
    const id = `${room}-${name}`;
    const members = [await system.connect(0), await system.connect(1)];
    for (const [index, member] of members.entries()) await member.join(id, index ? 'bob' : 'ann', { index });
    await lose(id, members);
    return { id, members };
  }));
  for (const { id, members } of all) {
    await until(`${id} to be whole`, async () => (await storedMembers(system.redis, id)).size === 2, { within: 75_000, every: 500 });
    for (const member of members) await member.sees(['ann', 'bob']);
    assert.equal(members[0].count({ type: 'leave' }) + members[1].count({ type: 'leave' }), 0);
  }
}, { within: 120_000 });

scenario('with every presence-state silent patches are UNAVAILABLE, and members stay', { states: 2 }, async ({ system, room }) => {
  const [ann, bob] = await system.connectMany(2);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  for (const state of system.states) state.pause();
  const pausedAt = Date.now();
  const lost = await bob.ask('presence:heartbeat', { patchState: { n: 1 } });
  assert.ok(['TIMEOUT', 'UNAVAILABLE'].includes(lost.code), JSON.stringify(lost));
  assert.ok(Date.now() - pausedAt < 2500, `a patch that no one answered was refused after ${Date.now() - pausedAt} ms`);
  await holds('the gateway answers for its own connections', async () => (await ann.beat()).ok, { ms: 6000, every: 200 });
  for (const state of system.states) state.resume();
  await until('patches to be answered again', async () => (await bob.ask('presence:heartbeat', { patchState: { n: 2 } })).ok, { within: 8000 });
  assert.equal(ann.count({ type: 'leave' }) + bob.count({ type: 'leave' }), 0);
  assert.deepEqual(ann.disconnects, []);
});
