// Presence, end to end: every verb over every transport, with members on two gateways and two presence-states.
import assert from 'node:assert/strict';

import { TRANSPORTS } from '../harness/client.mjs';
import { sharedSystem } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 2, states: 2 });

async function annAndBob(system, room, options) {
  const ann = await system.connect(0, options);
  const bob = await system.connect(1, options);
  await ann.join(room, 'ann', { mood: 'calm' });
  await bob.join(room, 'bob');
  await ann.receives({ type: 'join', userId: 'bob' });
  return { ann, bob };
}

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`join, heartbeat, patch, leave and disconnect over ${name}`, async ({ system, room }) => {
    const ann = await system.connect(0, { transports });
    const bob = await system.connect(1, { transports });

    const first = await ann.join(room, 'ann', { mood: 'calm' });
    assert.equal(first.self.connId, ann.connId);
    assert.deepEqual(first.snapshot.map(({ connId, userId, state }) => ({ connId, userId, state })), [
      { connId: ann.connId, userId: 'ann', state: { mood: 'calm' } },
    ]);
    assert.equal(first.snapshot[0].epoch, first.self.epoch);

    const second = await bob.join(room, 'bob', { n: 1 });
    assert.deepEqual(second.snapshot.map(({ userId }) => userId).sort(), ['ann', 'bob']);
    assert.deepEqual({ gen: second.gen, seq: second.seq }, { gen: first.gen, seq: first.seq + 1 });
    const joined = await ann.receives({ type: 'join', connId: bob.connId });
    assert.deepEqual(joined.state, { n: 1 });
    assert.equal(joined.userJoined, true);
    assert.equal(joined.epoch, second.self.epoch);

    assert.deepEqual(await bob.beat(), { ok: true, changed: false, epoch: second.self.epoch });
    assert.deepEqual(await bob.beat({ epoch: second.self.epoch }), { ok: true, changed: false, epoch: second.self.epoch });

    assert.deepEqual(await bob.patch({ n: 2, m: [] }), { ok: true, changed: true, epoch: second.self.epoch });
    for (const member of [ann, bob]) {
      const update = await member.receives({ type: 'update', connId: bob.connId });
      assert.deepEqual(update.state, { n: 2, m: [] });
    }
    assert.deepEqual(await bob.patch({ m: [] }), { ok: true, changed: false, epoch: second.self.epoch });

    assert.deepEqual(await bob.leave(), { ok: true });
    const left = await ann.receives({ type: 'leave', connId: bob.connId });
    assert.equal(left.reason, 'left');
    assert.equal(left.userLeft, true);

    await bob.join(room, 'bob');
    ann.close();
    const gone = await bob.receives({ type: 'leave', connId: first.self.connId });
    assert.equal(gone.reason, 'disconnected');
    await bob.sees(['bob']);
  });
}

test('polling is upgraded to a websocket in the middle of everything', async ({ system, room }) => {
  const ann = await system.connect(0, { transports: TRANSPORTS.upgrade });
  await ann.join(room, 'ann');
  for (let n = 0; ann.engine.transport.name !== 'websocket'; n += 1) await ann.patch({ n });
  assert.equal((await ann.patch({ upgraded: true })).changed, true);
});

test('an event has the fields of the protocol and no others', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  await bob.patch({ n: 1 });
  await bob.leave();
  await ann.receives({ type: 'leave' });
  const always = ['type', 'roomId', 'userId', 'connId', 'state', 'ts', 'epoch', 'seq', 'gen'];
  const sometimes = ['reason', 'userJoined', 'userLeft'];
  for (const event of ann.events) {
    const fields = Object.keys(event);
    assert.deepEqual(always.filter((field) => !fields.includes(field)), []);
    assert.deepEqual(fields.filter((field) => ![...always, ...sometimes].includes(field)), []);
    assert.ok(Math.abs(event.ts - Date.now()) < 5000, `ts is now: ${event.ts}`);
  }
});

test('two tabs of a user join once and leave once', async ({ system, room }) => {
  const watcher = await system.connect(0);
  const tabs = [await system.connect(0), await system.connect(1)];
  await watcher.join(room, 'watcher');
  for (const tab of tabs) await tab.join(room, 'ann');
  await watcher.receives({ type: 'join', connId: tabs[1].connId });
  tabs[0].close();
  await watcher.receives({ type: 'leave', userId: 'ann' });
  await tabs[1].leave();
  await until('both leaves', () => watcher.count({ type: 'leave', userId: 'ann' }) === 2);
  const flags = watcher.events.map(({ type, userJoined, userLeft }) => [type, Boolean(userJoined), Boolean(userLeft)]);
  assert.deepEqual(flags, [
    ['join', true, false], ['join', false, false], ['leave', false, false], ['leave', false, true],
  ]);
});

test('a socket is in one room at a time', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const refused = await bob.ask('presence:join', { roomId: `${room}-2`, userId: 'bob' });
  assert.deepEqual(refused, {
    ok: false, code: 'ROOM_CONFLICT', error: 'Socket already joined a different presence room',
  });
  assert.deepEqual((await bob.patch({ still: 'here' })).changed, true);

  await bob.leave();
  const other = await bob.join(`${room}-2`, 'bob');
  assert.deepEqual(other.snapshot.map(({ userId }) => userId), ['bob']);
  await ann.receives({ type: 'leave', connId: bob.connId, reason: 'left' });
  assert.equal(ann.count({ type: 'leave' }), 1);
});

test('joining the same room again replaces the state with a higher epoch', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const before = bob.roster.members.get(ann.connId);
  const again = await ann.join(room, 'ann', { mood: 'wild' });
  assert.ok(again.self.epoch > before.epoch);
  const update = await bob.receives({ type: 'update', connId: ann.connId });
  assert.deepEqual(update.state, { mood: 'wild' });
  assert.equal(update.epoch, again.self.epoch);
  assert.equal(again.snapshot.length, 2);
  assert.equal(bob.count({ type: 'join', connId: ann.connId }) + bob.count({ type: 'leave' }), 0);

  await ann.join(room, 'ann');
  await until('the empty state', () => JSON.stringify(bob.roster.members.get(ann.connId).state) === '{}');
});

test('heartbeat and leave before a join or after a leave are NOT_JOINED', async ({ system, room }) => {
  const ann = await system.connect();
  const refuses = async (event, payload) => {
    const answer = await ann.ask(event, payload);
    assert.equal(answer.code, 'NOT_JOINED', JSON.stringify(answer));
    assert.equal(answer.ok, false);
  };
  await refuses('presence:heartbeat', {});
  await refuses('presence:heartbeat', { patchState: { n: 1 } });
  await refuses('presence:leave', {});
  await ann.join(room, 'ann');
  await ann.leave();
  await refuses('presence:heartbeat', {});
  await refuses('presence:leave', {});
});

test('an event without an acknowledgement still acts', async ({ system, room }) => {
  const ann = await system.connect(0);
  const bob = await system.connect(1, { follow: false });
  await ann.join(room, 'ann');
  bob.socket.emit('presence:join', { roomId: room, userId: 'bob' });
  await ann.receives({ type: 'join', userId: 'bob' });
  bob.socket.emit('presence:heartbeat', { patchState: { quiet: true } });
  await ann.receives({ type: 'update', userId: 'bob' });
  bob.socket.emit('presence:leave');
  await ann.receives({ type: 'leave', userId: 'bob' });
  await ann.sees(['ann']);
});

test('a client that left receives nothing more', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  await bob.leave();
  const received = bob.events.length;
  for (let n = 0; n < 20; n += 1) await ann.patch({ n });
  await holds('silence for the one who left', () => bob.events.length === received, { ms: 500 });
});

const AWKWARD_NAMES = [
  'a{b}', '{a}b', 'a}b{', '{}', '日本', '../x', '..', '*', 'a:b:conns', 'with space', '"quoted"\\', '__proto__', '🦀',
  'x'.repeat(256), `${'日'.repeat(85)}x`,
];

test('awkward room and user names are names like any other', async ({ system }) => {
  await Promise.all(AWKWARD_NAMES.map(async (name) => {
    const ann = await system.connect(0);
    const bob = await system.connect(1);
    await ann.join(name, name);
    const { snapshot } = await bob.join(name, 'bob');
    assert.deepEqual(snapshot.map(({ userId }) => userId).sort(), [name, 'bob'].sort(), name);
    await ann.receives({ type: 'join', roomId: name, userId: 'bob' });
    await ann.patch({ name });
    await bob.receives({ type: 'update', roomId: name, userId: name });
    await bob.leave();
    await ann.receives({ type: 'leave', roomId: name });
    assert.deepEqual(ann.roster.users(), [name]);
  }));
});

test('rooms do not receive each other\'s events', async ({ system, room }) => {
  const rooms = await Promise.all(Array.from({ length: 20 }, async (_, n) => ({
    room: `${room}-${n}`, ...(await annAndBob(system, `${room}-${n}`)),
  })));
  await Promise.all(rooms.map(({ bob, room: name }) => bob.patch({ name })));
  for (const { ann, room: name } of rooms) {
    const update = await ann.receives({ type: 'update', userId: 'bob' });
    assert.deepEqual(update.state, { name });
    assert.deepEqual(ann.events.filter(({ roomId }) => roomId !== name), []);
  }
});

test('a client cannot write an info, and without one there is no such field', async ({ system, room }) => {
  const info = { name: 'Ann' };
  const [ann, bob] = [await system.connect(0), await system.connect(1)];
  await bob.join(room, 'bob');
  const { snapshot } = await ann.ask('presence:join', { roomId: room, userId: 'ann', info });
  await ann.beat({ info, patchState: { info } });
  const update = await bob.receives({ type: 'update', userId: 'ann' });
  assert.deepEqual(update.state, { info });
  await ann.leave();
  await bob.receives({ type: 'leave', userId: 'ann' });
  for (const shown of [...snapshot, ...bob.events]) assert.ok(!('info' in shown), JSON.stringify(shown));
});
