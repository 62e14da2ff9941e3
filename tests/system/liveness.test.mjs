// A member is present from its join to its leave, whatever it sends meanwhile.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

// As a page in the background does, whose timers run once a minute.
scenario('a client that answers pings and sends nothing for 65 s stays present, and keeps its lock', { gateways: 2 }, async ({ system, room }) => {
  const [silent, watcher] = await system.connectMany(2);
  await silent.join(room, 'silent');
  await watcher.join(room, 'watcher');
  const { fence } = await silent.lock('acquire', room, 'pen', { ttlMs: 120_000 });
  const received = watcher.events.length;
  await holds('nothing is received of it', () => watcher.events.length === received, { ms: 65_000, every: 500 });
  const beat = await silent.beat();
  assert.deepEqual([beat.ok, beat.rejoined, beat.stale], [true, undefined, undefined]);
  assert.equal((await silent.lock('renew', room, 'pen', { fence })).ok, true);
}, { within: 100_000 });

scenario('a client that stops answering pings is gone after interval and timeout', { gateways: 2, env: { PING_INTERVAL_MS: '1000', PING_TIMEOUT_MS: '1000' } }, async ({ system, room }) => {
  const [dead, watcher] = await system.connectMany(2);
  await dead.join(room, 'dead');
  await watcher.join(room, 'watcher');
  const begun = Date.now();
  dead.engine.transport.ws.pause();
  const leave = await watcher.receives({ type: 'leave', userId: 'dead' }, 6000);
  assert.equal(leave.reason, 'disconnected');
  assert.ok(Date.now() - begun >= 900, 'before it could have missed a ping');
});

const PINGS = { PING_INTERVAL_MS: '5000', PING_TIMEOUT_MS: '3000' };

// Its pings wait behind what it does not read, and so does the end of its session.
scenario('a client that reads nothing, and whose connection is full, is gone after interval and timeout', { env: PINGS }, async ({ system, room }) => {
  const writers = await system.connectMany(4);
  const dead = await system.connect(0, { slow: true, follow: false });
  await dead.join(room, 'dead');
  for (const [index, writer] of writers.entries()) await writer.join(room, `writer-${index}`);
  await writers[0].sees(['dead', 'writer-0', 'writer-1', 'writer-2', 'writer-3']);
  const begun = Date.now();
  dead.engine.transport.ws.pause();
  // More than the kernel holds, in less than an interval.
  const text = 'x'.repeat(15 * 1024);
  for (let n = 0; n < 250; n += 1) await Promise.all(writers.map((writer) => writer.patch({ text, n })));
  assert.ok(Date.now() - begun < 7000, 'the machine was too slow for this test');
  const leave = await writers[0].receives({ type: 'leave', userId: 'dead' }, 30_000);
  assert.equal(leave.reason, 'disconnected');
  // Its ping ends it after 8 s. On a busy machine it was the 10 s of a client that stays behind in two of some twenty runs, for a
  // reason that is not known; http/connection.rs tests the ping alone.
  const took = Date.now() - begun;
  assert.ok(took < 13_000, `${took} ms`);
}, { within: 60_000 });

scenario('a client that neither polls nor answers is gone after interval and timeout', { env: PINGS }, async ({ system, room }) => {
  const watcher = await system.connect();
  const dead = await system.connect(0, { transports: ['polling'], slow: true, follow: false });
  await dead.join(room, 'dead');
  await watcher.join(room, 'watcher');
  await watcher.sees(['dead', 'watcher']);
  const begun = Date.now();
  Object.assign(dead.engine.transport, { doPoll() {}, doWrite() {} });
  for (let n = 0; n < 100; n += 1) await watcher.patch({ text: 'x'.repeat(1024), n });
  const leave = await watcher.receives({ type: 'leave', userId: 'dead' }, 30_000);
  assert.equal(leave.reason, 'disconnected');
  const took = Date.now() - begun;
  assert.ok(took < 9500, `${took} ms`);
}, { within: 60_000 });

// One WebSocket that leaves the namespace and enters it again, as often as it likes.
scenario('each entry into the namespace is a connection of its own: no operation is mistaken for one of another', {}, async ({ system, room }) => {
  const client = await system.connect(0, { follow: false, raw: true });
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  const seen = new Set();
  for (let n = 1; n <= 5; n += 1) {
    const { self } = await client.join(room, 'ann', { n });
    assert.ok(!seen.has(self.connId), `${self.connId} came again`);
    seen.add(self.connId);
    await client.metadata('setChannel', room, 'T', [{ key: 'k', value: `write ${n}` }]);
    const { metadata } = await watcher.metadata('getChannel', room, 'T');
    assert.equal(metadata.k.value, `write ${n}`);
    assert.equal((await client.lock('acquire', room, 'pen')).ok, true);
    const connects = client.raw.filter((packet) => packet.startsWith?.('0')).length;
    client.engine.send('1');
    await watcher.receives({ type: 'leave', connId: self.connId });
    client.engine.send('0');
    await until('the namespace to be entered again', () => client.raw.filter((packet) => packet.startsWith?.('0')).length > connects);
  }
  assert.ok([...seen].every((connId) => /^[\w-]{16}$/.test(connId)), [...seen].join());
});
