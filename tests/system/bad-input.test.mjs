// Bad input: a clear error with its code and the field's name, nothing changed, the socket open. What is no Socket.IO
// at all, or over the limit of a message, closes that socket and no other.
import assert from 'node:assert/strict';

import { TRANSPORTS } from '../harness/client.mjs';
import { sharedSystem } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 1 });

const KIB = 1024;
const long = 'x'.repeat(257);
const longInBytes = '日'.repeat(86);
const fat = { text: 'x'.repeat(16 * KIB) };
const deep = (levels) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

function assertRefused(answer, code, field, label) {
  const details = `${label}: ${JSON.stringify(answer)}`;
  assert.equal(answer.ok, false, details);
  assert.equal(answer.code, code, details);
  assert.equal(typeof answer.error, 'string', details);
  assert.match(answer.error, field, details);
}

const ANY = /./;
// The name of the field as a word of its own.
const names = (field) => new RegExp(`\\b${field}\\b`);

const NO_OBJECTS = { 'no payload': [], 'a text': ['text'], 'a list': [[]], null: [null], 'a number': [7], true: [true] };

const ids = (field, other) => ({
  [`no ${field}`]: [other, field],
  [`${field} a number`]: [{ ...other, [field]: 7 }, field],
  [`${field} null`]: [{ ...other, [field]: null }, field],
  [`${field} a list`]: [{ ...other, [field]: ['x'] }, field],
  [`${field} empty`]: [{ ...other, [field]: '' }, field],
  [`${field} too long`]: [{ ...other, [field]: long }, field],
  [`${field} too long in bytes`]: [{ ...other, [field]: longInBytes }, field],
  [`${field} with a NUL`]: [{ ...other, [field]: 'a\u0000b' }, field],
  [`${field} with a line break`]: [{ ...other, [field]: 'a\nb' }, field],
  [`${field} with a DEL`]: [{ ...other, [field]: 'a\u007f' }, field],
});

const BAD_JOINS = {
  ...ids('roomId', { userId: 'ann' }),
  ...ids('userId', { roomId: 'room' }),
  'state a list': [{ roomId: 'room', userId: 'ann', state: [] }, 'state'],
  'state a text': [{ roomId: 'room', userId: 'ann', state: '{}' }, 'state'],
  'state a number': [{ roomId: 'room', userId: 'ann', state: 1 }, 'state'],
};

test('a join that is not one', async ({ system }) => {
  const ann = await system.connect();
  for (const [label, args] of Object.entries(NO_OBJECTS)) {
    assertRefused(await ann.ask('presence:join', ...args), 'INVALID_PAYLOAD', ANY, label);
  }
  for (const [label, [payload, field]] of Object.entries(BAD_JOINS)) {
    assertRefused(await ann.ask('presence:join', payload), 'INVALID_PAYLOAD', names(field), label);
  }
  assertRefused(await ann.ask('presence:join', { roomId: 'room', userId: 'ann' }, 'more'), 'INVALID_PAYLOAD', ANY, 'an extra argument');
  assertRefused(await ann.ask('presence:join', { roomId: 'room', userId: 'ann', state: fat }), 'TOO_LARGE', names('state'), 'a fat state');
  assertRefused(JSON.parse(await ann.askRaw('presence:join', `{"roomId":"room","userId":"ann","state":${deep(200)}}`)), 'INVALID_PAYLOAD', names('state'), 'a deep state');
  assertRefused(await ann.ask('presence:heartbeat', {}), 'NOT_JOINED', ANY, 'nothing of all that joined');
});

const BAD_BEATS = {
  'epoch a text': [{ epoch: '1' }, 'epoch'],
  'epoch negative': [{ epoch: -1 }, 'epoch'],
  'epoch a fraction': [{ epoch: 1.5 }, 'epoch'],
  'epoch too high': [{ epoch: 2 ** 52 + 1 }, 'epoch'],
  'epoch a list': [{ epoch: [] }, 'epoch'],
  'patchState a list': [{ patchState: [] }, 'patchState'],
  'patchState a text': [{ patchState: 'x' }, 'patchState'],
  'patchState a number': [{ patchState: 0 }, 'patchState'],
};

test('a heartbeat or leave that is not one changes nothing', async ({ system, room }) => {
  const ann = await system.connect();
  const watcher = await system.connect();
  await watcher.join(room, 'watcher');
  await ann.join(room, 'ann', { n: 1 });
  const { 'no payload': none, null: nothing, ...others } = NO_OBJECTS;
  for (const [label, args] of Object.entries(others)) {
    assertRefused(await ann.ask('presence:heartbeat', ...args), 'INVALID_PAYLOAD', ANY, label);
  }
  // An optional field of null is absent; NaN is one that the client writes as null.
  for (const args of [none, nothing, [{ epoch: null, patchState: null }], [{ epoch: NaN }]]) {
    assert.equal((await ann.ask('presence:heartbeat', ...args)).ok, true, JSON.stringify(args));
  }
  for (const [label, [payload, field]] of Object.entries(BAD_BEATS)) {
    assertRefused(await ann.ask('presence:heartbeat', payload), 'INVALID_PAYLOAD', names(field), label);
  }
  assertRefused(await ann.ask('presence:heartbeat', {}, {}), 'INVALID_PAYLOAD', ANY, 'an extra argument');
  assertRefused(await ann.ask('presence:heartbeat', { patchState: fat }), 'TOO_LARGE', /state/i, 'a fat patch');
  assertRefused(JSON.parse(await ann.askRaw('presence:heartbeat', `{"patchState":${deep(200)}}`)), 'INVALID_PAYLOAD', names('patchState'), 'a deep patch');
  for (const payload of ['text', [], 7]) {
    assertRefused(await ann.ask('presence:leave', payload), 'INVALID_PAYLOAD', ANY, `leave with ${JSON.stringify(payload)}`);
  }
  assertRefused(await ann.ask('presence:join', { roomId: room, userId: 'ann', state: [] }), 'INVALID_PAYLOAD', names('state'), 'a bad rejoin');

  assert.equal((await ann.beat()).changed, false);
  assert.deepEqual((await watcher.join(room, 'watcher')).snapshot.find(({ userId }) => userId === 'ann').state, { n: 1 });
  assert.deepEqual(watcher.events.filter(({ userId }) => userId === 'ann').map(({ type }) => type), ['join']);
});

test('patches that grow the state over the limit are refused, and the state stays', async ({ system, room }) => {
  const ann = await system.connect();
  await ann.join(room, 'ann', { half: 'x'.repeat(9 * KIB) });
  assertRefused(await ann.ask('presence:heartbeat', { patchState: { other: 'x'.repeat(9 * KIB) } }), 'TOO_LARGE', /state/i, 'grown');
  assert.equal((await ann.patch({ half: null })).changed, true);
  assert.equal((await ann.patch({ other: 'x'.repeat(9 * KIB) })).changed, true);
});

test('limits are limits: what just fits is accepted', async ({ system, room }) => {
  const ann = await system.connect();
  const state = { text: 'x'.repeat(16 * KIB - '{"text":""}'.length) };
  await ann.join(room, 'x'.repeat(256), state);
  await ann.leave();
  await ann.askRaw('presence:join', `{"roomId":"${room}","userId":"ann","state":${deep(60)}}`);
  assert.equal((await ann.beat({ unknown: 'fields are ignored' })).ok, true);
  assert.deepEqual(await ann.ask('presence:leave', null), { ok: true });
  await ann.join(room, 'ann');
  assert.deepEqual(await ann.ask('presence:leave', { any: 'thing' }), { ok: true });
});

test('a binary attachment, an unknown event and a number that JSON does not have', async ({ system, room }) => {
  const ann = await system.connect();
  await ann.join(room, 'ann');
  assertRefused(await ann.ask('presence:heartbeat', { patchState: { photo: Buffer.from('bytes') } }), 'INVALID_PAYLOAD', ANY, 'binary');
  assertRefused(await ann.ask('presence:join', { roomId: Buffer.from('room'), userId: 'ann' }), 'INVALID_PAYLOAD', ANY, 'a binary room');
  for (const event of ['presence:dance', 'message', '', '__proto__', 'x'.repeat(1000)]) {
    assertRefused(await ann.ask(event, {}), 'INVALID_PAYLOAD', ANY, `event ${event}`);
  }
  ann.socket.emit('presence:dance', {}); // without acknowledgement: no one to answer
  assert.equal((await ann.patch({ n: NaN })).changed, true); // which the client writes as null
  await until('the null', () => ann.roster.members.get(ann.connId).state.n === null);
});

// Over a WebSocket the client is not read while its queue is nearly full; a POST of a long poll comes as a whole.
for (const [transport, codes] of [['websocket', []], ['polling', ['OVERLOADED']]]) {
  test(`a flood of events over ${transport} is answered in full, refused with ${codes[0] ?? 'nothing'}`, async ({ system, room }) => {
    const ann = await system.connect(0, { transports: TRANSPORTS[transport] });
    const bob = await system.connect();
    await ann.join(room, 'ann');
    await bob.join(room, 'bob');
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, n) => ann.ask('presence:heartbeat', { patchState: { n } })));
    const refused = answers.filter(({ ok }) => !ok);
    assert.deepEqual([...new Set(refused.map(({ code }) => code))], codes);
    const last = answers.findLastIndex(({ ok }) => ok);
    assert.equal((await bob.beat()).ok, true);
    await until('the last accepted patch at the other', () => bob.roster.members.get(ann.connId).state.n === last);
    assert.equal((await ann.patch({ after: 'the flood' })).changed, true);
  });
}

test('any number of binary attachments is refused in words, and the socket stays open', async ({ system, room }) => {
  const ann = await system.connect();
  await ann.join(room, 'ann');
  const photos = (count) => ({ patchState: { photos: Array.from({ length: count }, (_, n) => Buffer.from([n])) } });
  for (const count of [2, 256]) {
    assertRefused(await ann.ask('presence:heartbeat', photos(count)), 'INVALID_PAYLOAD', ANY, `${count} attachments`);
  }
  assert.equal((await ann.beat()).ok, true);
  assert.deepEqual(ann.disconnects, []);
});

const MALFORMED = {
  'no Socket.IO packet': 'nonsense',
  'a packet type that does not exist': '9["presence:join",{}]',
  'broken JSON': '2["presence:join",{"roomId":',
  'a NaN': '21["presence:heartbeat",{"epoch":NaN}]',
  'an event that is no list': '2{"presence:join":{}}',
  'an event without a name': '2[]',
  'over 64 KiB': `21["presence:join",{"roomId":"room","userId":"ann","state":{"text":"${'x'.repeat(70 * KIB)}"}}]`,
};

for (const transport of ['websocket', 'polling']) {
  test(`malformed packets close that socket alone, over ${transport}`, async ({ system, room }) => {
    const options = { transports: TRANSPORTS[transport] };
    const bystander = await system.connect(0, options);
    await bystander.join(room, 'bystander');
    for (const [label, packet] of Object.entries(MALFORMED)) {
      const victim = await system.connect(0, options);
      await victim.join(room, label);
      await bystander.receives({ type: 'join', userId: label });
      victim.engine.send(packet);
      const { reason } = await bystander.receives({ type: 'leave', userId: label });
      assert.equal(reason, 'disconnected', label);
      assert.ok(await victim.disconnected(), label);
    }
    assert.equal((await bystander.beat()).ok, true);
    assert.deepEqual(bystander.disconnects, []);
    const lines = system.gateways[0].child.lines.filter((line) => line.includes('malformed packet'));
    assert.ok(lines.length > 0 && lines.length < Object.keys(MALFORMED).length, `${lines.length} log lines`);
  });
}

// A small deterministic generator (mulberry32): the same garbage in every run.
function randomFrom(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

test('arbitrary packets affect no one else', async ({ system, room }) => {
  const random = randomFrom(20_26);
  const bystander = await system.connect();
  await bystander.join(room, 'bystander');
  const proper = `27["presence:join",{"roomId":"${room}","userId":"fuzz","state":{"a":[1,{}]}}]`;
  for (let round = 0; round < 150; round += 1) {
    const fuzz = await system.connect(0, { follow: false });
    for (let packet = 0; packet < 5; packet += 1) {
      const chars = [...proper];
      for (let edit = 0; edit <= random(6); edit += 1) chars[random(chars.length)] = String.fromCodePoint(random(0x250));
      fuzz.engine.send(chars.join('').slice(random(4), 1 + random(2 * chars.length)));
    }
    fuzz.close();
  }
  assert.equal((await bystander.beat()).ok, true);
  await bystander.sees(['bystander']);
  assert.deepEqual(bystander.disconnects, []);
});
