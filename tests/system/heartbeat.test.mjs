// Heartbeats: epochs that fence, order, records that come back, and no claim that Redis does not know.
import assert from 'node:assert/strict';

import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const BEAT_MS = 1000;
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

test('a stale heartbeat refreshes nothing', async ({ system, room }) => {
  const { ann, watcher, epoch } = await annAndWatcher(system, room);
  const { lastSeenMs } = await look(watcher, room, 'ann');
  const { beats, stop } = ann.pulse({ payload: { epoch: epoch - 1 } });
  await holds('lastSeenMs stands still', async () => (await look(watcher, room, 'ann')).lastSeenMs === lastSeenMs, { ms: 3500, every: 200 });
  await stop();
  assert.ok(beats.length >= 2 && beats.every(({ answer }) => answer.stale));
});

test('a higher epoch is adopted, and fences the lower one', async ({ system, room }) => {
  const { ann, watcher, epoch } = await annAndWatcher(system, room);
  assert.deepEqual(await ann.beat({ epoch: epoch + 10 }), { ok: true, changed: false, epoch: epoch + 10 });
  assert.equal((await look(watcher, room, 'ann')).epoch, epoch + 10);
  assert.equal((await ann.beat({ epoch })).stale, true);
  assert.deepEqual(await ann.beat(), { ok: true, changed: false, epoch: epoch + 10 });
  assert.deepEqual(await ann.beat({ epoch: epoch + 11, patchState: { n: 1 } }), { ok: true, changed: true, epoch: epoch + 11 });
  assert.equal((await watcher.hears({ type: 'update', connId: ann.connId })).epoch, epoch + 11);
});

test('the epoch of a rejoin is above every adopted one', async ({ system, room }) => {
  const { ann } = await annAndWatcher(system, room);
  await ann.beat({ epoch: MAX_EPOCH });
  const { self } = await ann.join(room, 'ann');
  assert.ok(self.epoch > MAX_EPOCH, `${self.epoch}`);
  assert.equal((await ann.beat({ epoch: MAX_EPOCH })).stale, true);
});

// By how much a heartbeat of these came late, of those that matter at `time`: what the test machine itself did not
// manage is not held against the system.
function latenessAt(time, beats) {
  const recent = beats.map(({ at }) => at).filter((at) => at <= time && at > time - 4 * BEAT_MS);
  return Math.max(0, ...[...recent, time].slice(1).map((at, index) => at - recent[index] - BEAT_MS));
}

test('a heartbeat each second keeps lastSeenMs younger than 1.5 s', async ({ system, room }) => {
  const beatsOf = new Map();
  for (const [index, beater] of (await system.connectMany(6)).entries()) {
    await beater.join(room, `beater-${index}`);
    beatsOf.set(beater.connId, beater.pulse({ everyMs: BEAT_MS }).beats);
  }
  const watcher = await system.connect(1);
  const ages = [];
  await holds('everyone is seen', async () => {
    const askedAt = Date.now();
    const { snapshot } = await watcher.join(room, 'watcher');
    for (const [connId, beats] of beatsOf) {
      const { lastSeenMs } = snapshot.find((member) => member.connId === connId);
      ages.push(askedAt - lastSeenMs - latenessAt(askedAt, beats));
    }
    return true;
  }, { ms: 12_000, every: 37 });
  assert.ok(ages.length > 600, `only ${ages.length} looks`);
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
  await watcher.hears({ type: 'update', connId: ann.connId, seq: ann.roster.seq });
  const heard = watcher.events.filter(({ type, connId }) => type === 'update' && connId === ann.connId);
  assert.deepEqual(heard.map(({ state }) => state.n), heard.map(({ state }) => state.n).sort((a, b) => a - b));
  assert.equal(heard.at(-1).state.n, 29);
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

// A watcher that is not judged: a snapshot lacks whoever Redis has lost, while those who were here go on seeing them.
function unjudgedWatcher(system) {
  return system.connect(1, { follow: false });
}

// Everything that Redis knows of one connection is gone; the room and its other members are as they were.
async function loseRecord(redis, room, { connId }, userId) {
  assert.equal(await redis.command('HDEL', `prs:{room:${room}}:conns`, connId), 1);
  assert.equal(await redis.command('ZREM', `prs:{room:${room}}:last_seen`, connId), 1);
  assert.equal(await redis.command('HDEL', `prs:{room:${room}}:users`, userId), 1);
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

test('a plain heartbeat brings a lost record back within a touch', async ({ system, room }) => {
  const { ann, epoch } = await annAndWatcher(system, room);
  const watcher = await unjudgedWatcher(system);
  const { beats, stop } = ann.pulse();
  await loseRecord(system.redis, room, ann, 'ann');
  const member = await until('the record to be back', () => look(watcher, room, 'ann'), { within: 4000 });
  assert.deepEqual(member.state, { n: 0 });
  assert.ok(member.epoch >= epoch);
  await stop();
  for (const { answer } of beats) assert.equal(answer.ok, true);
  assert.equal((await ann.beat()).epoch, member.epoch);
});

test('a whole room that Redis has lost comes back', async ({ system, room }) => {
  const { ann, watcher } = await annAndWatcher(system, room);
  const { stop } = ann.pulse();
  const keys = await system.redis.keys(`prs:{room:${room}}:*`);
  assert.ok(keys.length >= 3, keys.join());
  await system.redis.command('DEL', ...keys);
  await until('the room to be back', async () => {
    const { snapshot } = await watcher.join(room, 'watcher');
    return snapshot.some(({ userId, state }) => userId === 'ann' && state.n === 0);
  }, { within: 6000 });
  await stop();
  await ann.sees(['ann', 'watcher']);
  assert.equal(ann.count({ type: 'leave' }) + watcher.count({ type: 'leave' }), 0);
});

scenario('UNAVAILABLE once touches were not acknowledged for 2 s, and well again at once', { states: 2 }, async ({ system, room }) => {
  const [ann, bob] = await system.connectMany(2);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  const { stop } = ann.pulse();
  for (const state of system.states) state.pause();
  const pausedAt = Date.now();
  const patched = bob.ask('presence:heartbeat', { patchState: { n: 1 } }).then((answer) => ({ answer, ms: Date.now() - pausedAt }));

  const { answer: lost, ms } = await patched;
  assert.ok(['TIMEOUT', 'UNAVAILABLE'].includes(lost.code), JSON.stringify(lost));
  assert.ok(ms < 2500, `a patch that nobody answered was refused after ${ms} ms`);
  const refused = await until('a plain heartbeat to be refused', async () => {
    const answer = await ann.ask('presence:heartbeat', {});
    return !answer.ok && answer;
  }, { within: 5000 });
  const claimed = Date.now() - pausedAt;
  assert.equal(refused.code, 'UNAVAILABLE');
  assert.ok(claimed < 3500, `the gateway claimed life for ${claimed} ms after the last state went silent`);

  for (const state of system.states) state.resume();
  await until('heartbeats to be answered again', async () => (await ann.ask('presence:heartbeat', {})).ok, { within: 2000 });
  await stop();
  assert.deepEqual(ann.disconnects, []);
});
