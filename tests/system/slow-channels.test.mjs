// A member that stops reading while its room's channels are larger than its queue: what it missed is fetched in pages of 1 MiB.
// It has all of it once it reads again, or it is closed and comes back. Redis is not asked forever.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { holds, sleep, until } from '../harness/until.mjs';

const TYPES = 40;
const CHANGES = 20;
// 16 values of almost 16 KiB: a channel of almost 256 KiB. A message has at most 64 KiB, so a channel
// is set with short values, and they are written in parts.
const ITEMS = 16;
const PART = 3;
const PARTS = Math.ceil(ITEMS / PART);
const VALUE = 'x'.repeat(16_300);
// The socket's queue has 512 places.
const FILLERS = 700;
const ASLEEP_MS = 4000;
const BEHIND_LIMIT_MS = 10_000;
// Every 250 ms one page that does not fit, and the question what else is new; all pages four times, since at most 1 MiB waits for
// a socket and a page may fit in part only. The changes that are missed at first are asked for as they come.
const MOST_ASKED = (ASLEEP_MS / 250) * 2 + 4 * 12 + 20;

const typeName = (n) => `T${n}`;
const ASKED = ['presence.command.duration', { command: 'metadata.catchup' }];
const catchups = (otlp) => otlp.total(...ASKED);

// A writer, a reader and a member that reads nothing any more and has missed the last changes of every channel.
async function fallBehind(system, room) {
  const [writer, reader] = await system.connectMany(2);
  const sleeper = await system.connect(0, { slow: true, reconnection: true, reconnectionDelay: 50, follow: false });
  for (const [index, client] of [writer, reader, sleeper].entries()) await client.join(room, `user-${index}`);
  const socket = sleeper.engine.transport.ws;
  socket.pause();
  const pausedAt = Date.now();
  const update = (n, value) => writer.metadata('updateChannel', room, typeName(n), [{ key: 'k0', value }]);
  const data = Array.from({ length: ITEMS }, (_, n) => ({ key: `k${n}`, value: VALUE }));
  for (let n = 0; n < TYPES; n += 1) {
    await writer.metadata('setChannel', room, typeName(n), data.map(({ key }) => ({ key, value: '' })));
    for (let at = 0; at < ITEMS; at += PART) await writer.metadata('updateChannel', room, typeName(n), data.slice(at, at + PART));
  }
  for (let n = 0; n < FILLERS; n += 1) await writer.metadata('setChannel', room, 'filler', [{ key: 'n', value: n }]);
  const missedAt = Date.now();
  for (let n = 0; n < CHANGES; n += 1) await update(n, `changed ${n}`);
  return { writer, reader, sleeper, socket, pausedAt, missedAt };
}

const revisions = ({ changes }) => {
  const last = new Map();
  for (const { channelType, majorRevision } of changes) last.set(channelType, majorRevision);
  return JSON.stringify([...last].sort());
};

const all = { exports: true };

scenario('a member that reads again after 4 s has every channel at its current revision', all, async ({ system, room, otlp }) => {
  const { writer, reader, sleeper, socket, missedAt } = await fallBehind(system, room);
  await until('the reader to have every change', () => reader.changes.length === TYPES * (1 + PARTS) + FILLERS + CHANGES);
  await until('the sleeper to be missing changes', () => catchups(otlp) > 0);
  await sleep(Math.max(0, ASLEEP_MS - (Date.now() - missedAt))); // for how long it does not read is the point
  socket.resume();
  await until('the sleeper to have every channel', () => sleeper.disconnects.length > 0 || revisions(sleeper) === revisions(reader), { within: 10_000 });
  if (sleeper.disconnects.length > 0) {
    await until('the sleeper to come back', () => sleeper.socket.connected);
    await sleeper.join(room, 'user-2');
  }
  for (let n = 0; n < TYPES; n += 1) {
    const { majorRevision } = await sleeper.metadata('getChannel', room, typeName(n));
    assert.equal(majorRevision, writer.channels.get(room, typeName(n)).majorRevision, typeName(n));
  }
  assert.equal(writer.syncs.length + reader.syncs.length, 0, 'a reader that kept up was resynchronized');
  const asked = await otlp.settles(...ASKED);
  assert.ok(asked <= MOST_ASKED, `channels were asked for ${asked} times`);
  await holds('no one asks any more', () => catchups(otlp) === asked, { ms: 1500 });
});

scenario('a member that does not read again is closed within some 10 s and comes back', all, async ({ system, room, otlp }) => {
  const { reader, sleeper, socket, pausedAt } = await fallBehind(system, room);
  const closed = () => system.gateways[0].child.lines.some((line) => line.includes('closing slow client'));
  await until('the sleeper to be closed', closed, { within: BEHIND_LIMIT_MS + 4000 });
  const after = Date.now() - pausedAt;
  assert.ok(after > BEHIND_LIMIT_MS, `closed after ${after} ms`);
  const asked = await otlp.settles(...ASKED);
  await holds('no one asks any more', () => catchups(otlp) === asked, { ms: 1500 });
  socket.resume();
  await until('the sleeper to come back', () => sleeper.disconnects.length === 1 && sleeper.socket.connected, { within: 15_000 });
  await sleeper.join(room, 'user-2');
  const { majorRevision } = await sleeper.metadata('getChannel', room, typeName(0));
  assert.equal(majorRevision, reader.changes.findLast(({ channelType }) => channelType === typeName(0)).majorRevision);
  assert.equal(reader.syncs.length, 0, 'a reader that kept up was resynchronized');
});
