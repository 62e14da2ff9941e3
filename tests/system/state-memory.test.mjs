// A burst of reads of large channels: presence-state has the memory of docker-compose.yml, none of its instances ends, and no one
// else waits.
import assert from 'node:assert/strict';

import { limitMemory, noMemoryLimits, peakBytes } from '../harness/memory.mjs';
import { RawMember, each } from '../harness/raw-members.mjs';
import { scenario } from '../harness/scenario.mjs';

const MIB = 1024 * 1024;
const MEMORY = 512 * MIB;
const BOUND = 256 * MIB;
const READERS = 1200;
const CHANNELS = 60; // 15 MiB in Redis
const ITEMS = 16;
const FEWEST_PATCHES = 3;
const VALUE = 'x'.repeat(255 * 64); // a 16th of 255 KiB

const channel = (n) => ({ channelName: 'large', channelType: `T${n}` });

// A message has at most 64 KiB, so the channel grows item by item.
async function fill(writer, n) {
  const keys = Array.from({ length: ITEMS }, (_, index) => `k${index}`);
  const send = async (verb, data) => {
    const answer = await writer.ask(`metadata:${verb}`, { ...channel(n), data });
    assert.ok(answer.ok, JSON.stringify(answer));
  };
  await send('setChannel', keys.map((key) => ({ key, value: '' })));
  for (let at = 0; at < ITEMS; at += 2) await send('updateChannel', keys.slice(at, at + 2).map((key) => ({ key, value: VALUE })));
}

scenario('a burst of reads of large channels ends no presence-state', { skip: noMemoryLimits, gateways: 2, states: 2 }, async ({ system, room, t }) => {
  for (const { pid } of system.states) limitMemory(pid, MEMORY);
  const members = await system.connectMany(2);
  for (const [index, member] of members.entries()) await member.join(room, `user-${index}`);
  const writer = await system.connect(0, { follow: false });
  for (let n = 0; n < CHANNELS; n += 1) await fill(writer, n);
  const readers = await each(READERS, (n) => new RawMember(system.gateways[n % 2].url).connect());

  let isOver = false;
  const patches = members.map(async (member, index) => {
    let [count, slowest] = [0, 0];
    for (let n = 0; !isOver; n += 1) {
      const began = Date.now();
      const { ok, code } = await member.ask('presence:heartbeat', { patchState: { n, index } });
      // A busy machine may take longer than a request may.
      assert.ok(ok || code === 'TIMEOUT', code);
      count += ok ? 1 : 0;
      slowest = Math.max(slowest, Date.now() - began);
    }
    return { count, slowest };
  });
  const codes = new Map();
  const count = ({ ok, code }) => codes.set(ok ? 'ok' : code, (codes.get(ok ? 'ok' : code) ?? 0) + 1);
  // Half of them read one channel, the others all of them.
  await Promise.all(readers.map(async (reader, n) => count(await reader.ask('metadata:getChannel', channel(n < READERS / 2 ? 0 : n % CHANNELS)))));
  isOver = true;
  const patched = await Promise.all(patches);
  readers.forEach((reader) => reader.close());

  const peaks = system.states.map(({ pid }) => peakBytes(pid));
  t.diagnostic(`answers ${JSON.stringify([...codes])}; patches ${JSON.stringify(patched)}; peaks ${peaks.map((bytes) => Math.round(bytes / MIB))} MiB`);
  assert.ok(system.states.every(({ running }) => running), 'a presence-state has ended');
  assert.ok(Math.max(...peaks) < BOUND, 'presence-state took more memory than it may');
  assert.ok(codes.get('ok') > 0, 'nothing was answered');
  // Each patch waits for the one before: a member that has to wait until the burst is over sends two.
  for (const { count } of patched) assert.ok(count >= FEWEST_PATCHES, `a member was answered ${count} times during the burst`);
}, { within: 120_000 });
