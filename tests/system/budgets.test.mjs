// What one client may cost: events and bytes a second, writes of a channel, locks, and the bytes that wait for it. Beyond a
// budget it is refused, not read for a while, or closed; no one else notices.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { WebSocket } from 'ws';

import { TRANSPORTS } from '../harness/client.mjs';
import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const KIB = 1024;
const MIB = 1024 * KIB;
const DEFAULTS = { SOCKET_EVENTS_PER_S: '50', SOCKET_BYTES_PER_S: String(512 * KIB), CHANNEL_WRITES_PER_S: '100' };
const BURST = 200;

const test = sharedSystem({ gateways: 1, env: DEFAULTS });

function assertLimited(answers) {
  for (const answer of answers.filter(({ ok }) => !ok)) {
    assert.equal(answer.code, 'RATE_LIMITED', JSON.stringify(answer));
    assert.ok(Number.isInteger(answer.retryAfterMs) && answer.retryAfterMs >= 1, JSON.stringify(answer));
  }
}

const accepted = (answers) => answers.filter(({ ok }) => ok).length;

for (const [transport, events] of [['websocket', 600], ['polling', 2000]]) {
  test(`a flood over ${transport} is answered in full, what is over the rate with RATE_LIMITED, and no one else notices`, async ({ system, room }) => {
    const flooder = await system.connect(0, { transports: TRANSPORTS[transport] });
    const bob = await system.connect();
    await flooder.join(room, 'flooder');
    await bob.join(room, 'bob');
    const pulse = bob.pulse({ everyMs: 50 });
    const began = Date.now();
    const answers = await Promise.all(Array.from({ length: events }, () => flooder.ask('presence:heartbeat', {})));
    const seconds = (Date.now() - began) / 1000;
    await pulse.stop();
    assertLimited(answers);
    const count = accepted(answers);
    assert.ok(count >= BURST - 2 && count <= BURST + 50 * (seconds + 1), `${count} of ${events} in ${seconds} s`);
    assert.ok(count < events, 'nothing was refused');
    assert.ok(pulse.beats.every(({ answer }) => answer.ok));
    await until('the flooder to be heard again', async () => (await flooder.ask('presence:heartbeat', {})).ok);
    assert.deepEqual(flooder.disconnects, []);
  });
}

test('a client that keeps to the rate is never refused', async ({ system, room }) => {
  const ann = await system.connect();
  await ann.join(room, 'ann');
  const pulse = ann.pulse({ payload: { patchState: { n: 1 } }, everyMs: 20 });
  await until('six seconds of them', () => pulse.beats.length >= 300, { within: 20_000 });
  await pulse.stop();
  assert.ok(pulse.beats.every(({ answer }) => answer.ok));
});

for (const transport of ['websocket', 'polling']) {
  test(`a client that comes back over ${transport} joins behind 400 events that it wrote while it was offline`, async ({ system, room }) => {
    const ann = await system.connect(0, { transports: [transport] });
    const buffered = Array.from({ length: 400 }, () => ann.ask('presence:heartbeat', {}));
    await ann.join(room, 'ann');
    const codes = new Set((await Promise.all(buffered)).map(({ code }) => code));
    assert.deepEqual(codes, new Set(['NOT_JOINED', 'RATE_LIMITED']));
  });
}

test('bytes have a rate too', async ({ system }) => {
  const ann = await system.connect();
  const text = 'x'.repeat(60 * KIB);
  // 3 MiB, three times what is allowed at once: two seconds on the way do not make them fit.
  const answers = await Promise.all(Array.from({ length: 52 }, () => ann.ask('presence:dance', { text })));
  const limited = answers.filter(({ code }) => code === 'RATE_LIMITED');
  assertLimited(limited);
  assert.ok(limited.length > 0 && limited.length <= 52 - 17, `${limited.length} of 52`);
  assert.match(limited[0].error, /bytes/);
});

// The official client closes its connection with its last socket, so this one speaks the protocol itself.
test('leaving the namespace does not renew a budget', async ({ system }) => {
  const ws = new WebSocket(`${system.gateways[0].url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
  const packets = [];
  ws.on('message', (data) => packets.push(String(data)));
  const comes = (what, pick) => until(what, () => packets.filter(pick).length, { within: 10_000 });
  const isAnswer = (packet) => packet.startsWith('43');
  await comes('the opening packet', (packet) => packet.startsWith('0'));
  ws.send('40');
  await comes('the namespace', (packet) => packet.startsWith('40'));
  for (let n = 0; n < BURST - 10; n += 1) ws.send(`42${n}["presence:heartbeat",{}]`);
  await until('every answer', () => packets.filter(isAnswer).length === BURST - 10, { within: 10_000 });
  ws.send('41');
  ws.send('40');
  await until('the namespace again', () => packets.filter((packet) => packet.startsWith('40')).length === 2);
  for (let n = 0; n < BURST - 10; n += 1) ws.send(`42${n}["presence:heartbeat",{}]`);
  await comes('a refusal', (packet) => isAnswer(packet) && packet.includes('RATE_LIMITED'));
  ws.close();
});

// As the attacker wants it: nothing is read, and everything is written at once.
async function rawSession(system) {
  const ws = new WebSocket(`${system.gateways[0].url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
  const packets = [];
  ws.on('message', (data) => packets.push(String(data)));
  ws.on('error', () => {});
  await until('the opening packet', () => packets.some((packet) => packet.startsWith('0')));
  ws.send('40');
  await until('the namespace', () => packets.some((packet) => packet.startsWith('40')));
  return { ws, packets };
}

test('a socket that pings as fast as it can is not read, and its answers take no memory', async ({ system }) => {
  const { ws } = await rawSession(system);
  const [gateway] = system.gateways;
  const before = residentBytes(gateway.pid);
  ws.pause();
  const pings = Buffer.concat(Array.from({ length: 10_000 }, () => Buffer.concat([Buffer.from([0x89, 0xfd, 0, 0, 0, 0]), Buffer.alloc(125, 'p')])));
  // 65 MB, if they were read.
  for (let n = 0; n < 50; n += 1) ws._socket.write(pings);
  await holds('most of them to wait', () => ws._socket.writableLength > 40 * MIB, { ms: 5000 });
  assert.ok(residentBytes(gateway.pid) - before < 16 * MIB, 'the gateway has grown');
  ws.terminate();
});

scenario('the channels of one name have a rate of writes for all clients together, and other names have their own', { env: { CHANNEL_WRITES_PER_S: '5' } }, async ({ system, room }) => {
  const sockets = await system.connectMany(4);
  const data = [{ key: 'k', value: 1 }];
  const write = (socket, name) => socket.ask('metadata:setChannel', { channelName: name, channelType: 'T', data });
  const answers = await Promise.all(sockets.flatMap((socket) => Array.from({ length: 10 }, () => write(socket, room))));
  assertLimited(answers);
  const count = accepted(answers);
  assert.ok(count >= 10 && count < 20, `${count} writes`);
  assert.equal((await write(sockets[0], `${room}-other`)).ok, true);
  await sockets[0].metadata('getChannel', room, 'T');
  await until('room for another write', async () => (await write(sockets[0], room)).ok);
});

test('a socket holds and waits for 16 locks together', async ({ system, room }) => {
  const [ann, bob] = await system.connectMany(2);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  const { fence } = await bob.lock('acquire', room, 'taken');
  for (let n = 0; n < 15; n += 1) assert.equal((await ann.lock('acquire', room, `lock-${n}`)).ok, true);
  const wait = ann.lock('acquire', room, 'taken', { waitMs: 10_000 });
  await until('ann to be in line', async () => (await ann.lock('acquire', room, 'another')).code === 'OVERLOADED');
  assert.equal((await bob.lock('release', room, 'taken', { fence })).ok, true);
  assert.equal((await wait).ok, true);
  assert.equal((await ann.lock('acquire', room, 'another')).code, 'OVERLOADED');
});

function residentBytes(pid) {
  const [, kib] = readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+) kB/m);
  return Number(kib) * KIB;
}

// A channel of 240 KiB.
async function fill(client, channel) {
  const keys = Array.from({ length: 16 }, (_, n) => `k${n}`);
  await client.metadata('setChannel', channel, 'T', keys.map((key) => ({ key, value: '' })));
  for (const key of keys) await client.metadata('updateChannel', channel, 'T', [{ key, value: 'x'.repeat(15 * KIB) }]);
}

// 240 MB of answers.
function askForMuch({ socket }, channel) {
  for (let n = 0; n < 1000; n += 1) socket.emit('metadata:getChannel', { channelName: channel, channelType: 'T' }, () => {});
}

// The official client's own WebSocket (of the `ws` package) stops reading from its TCP connection.
const fallAsleep = ({ engine }) => engine.transport.ws.pause();

scenario('sockets that ask for much and read nothing cost their budget, and are closed after ten seconds', { exports: true }, async ({ system, room, otlp }) => {
  const SLEEPERS = 4;
  const writer = await system.connect();
  await writer.join(room, 'writer');
  await fill(writer, room);
  const sleepers = await system.connectMany(SLEEPERS, { follow: false, slow: true, reconnection: true, reconnectionDelay: 50 });
  const [gateway] = system.gateways;
  const before = residentBytes(gateway.pid);
  sleepers.forEach(fallAsleep);
  let peak = before;
  const look = setInterval(() => { peak = Math.max(peak, residentBytes(gateway.pid)); }, 100);
  sleepers.forEach((sleeper) => askForMuch(sleeper, room));
  const closed = () => gateway.child.lines.filter((line) => line.includes('closing slow client'));
  await until('all of them to be closed', () => closed().length >= SLEEPERS, { within: 40_000 });
  clearInterval(look);
  const grown = Math.round((peak - before) / MIB);
  assert.ok(grown < SLEEPERS * 12, `the gateway grew by ${grown} MiB`);
  assert.equal((await writer.beat()).ok, true);
  await until('the refusals to be counted', () => otlp.total('presence.refused.total', { reason: 'socket_backlog' }) >= SLEEPERS, { within: 10_000 });
  sleepers.forEach((sleeper) => sleeper.close());
  await until('nothing to wait for anyone', () => otlp.total('presence.outward.waiting', {}) < 512 * KIB, { within: 20_000 });
}, { within: 120_000 });

scenario('a process over its budget closes the largest debtors, and those who read notice nothing', { exports: true, env: { OUTWARD_BYTES: String(8 * MIB) } }, async ({ system, room, otlp }) => {
  await otlp.adds('presence.outward.limit', {}, 8 * MIB);
  const SLEEPERS = 20;
  const [writer, reader] = await system.connectMany(2);
  await writer.join(room, 'writer');
  await reader.join(room, 'reader');
  await fill(writer, room);
  const sleepers = await system.connectMany(SLEEPERS, { follow: false, slow: true });
  sleepers.forEach(fallAsleep);
  sleepers.forEach((sleeper) => askForMuch(sleeper, room));
  const closed = () => system.gateways[0].child.lines.filter((line) => line.includes('largest debtors'));
  await until('the largest debtors to be closed', () => closed().length > 0, { within: 20_000 });
  await writer.patch({ n: 1 });
  await until('the patch at the reader', () => reader.roster.members.get(writer.connId).state.n === 1);
  assert.deepEqual([writer.disconnects, reader.disconnects, reader.syncs], [[], [], []]);
  await until('the refusals to be counted', () => otlp.total('presence.refused.total', { reason: 'process_backlog' }) > 0, { within: 10_000 });
  assert.ok(closed().length < SLEEPERS, 'all were closed');
}, { within: 90_000 });

for (const [label, bytes] of Object.entries({
  'a frame': Buffer.from([0x81, 0xfe, 0x10, 0x00, 0, 0, 0, 0, 0x34]),
  'a message of several frames': Buffer.from([0x01, 0x82, 0, 0, 0, 0, 0x34, 0x32]),
  'an event whose attachment does not come': Buffer.concat([Buffer.from([0x81, 0x9c, 0, 0, 0, 0]), Buffer.from('451-["x",{"_placeholder":1}]')]),
})) {
  test(`${label} that is not finished within ten seconds ends its socket, and no other`, async ({ system, room }) => {
    const [ann, bob] = await system.connectMany(2);
    await ann.join(room, 'ann');
    await bob.join(room, 'bob');
    ann.engine.transport.ws._socket.write(bytes);
    const began = Date.now();
    await ann.disconnected(15_000);
    assert.ok(Date.now() - began > 8000, 'it was closed at once');
    assert.deepEqual(bob.disconnects, []);
  });
}
