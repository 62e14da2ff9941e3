// A client that stops reading while its room is busy: the gateway's memory stays bounded, the others notice nothing, and
// when it reads again it is brought up to date, or it has been closed. It never silently misses an event.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const MIB = 1024 * 1024;
const STATE_BYTES = 12 * 1024;
const PATCHES = 3000; // 36 MiB for each reader: far more than the kernel buffers for one that does not read
const ASLEEP = 3;
const BOUND_BYTES = ASLEEP * 12 * MIB;

function residentBytes(pid) {
  const [, kib] = readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+) kB/m);
  return Number(kib) * 1024;
}

// The official client's own WebSocket (of the `ws` package) stops reading from its TCP connection.
const fallAsleep = (client) => client.engine.transport.ws.pause();
const wakeUp = (client) => client.engine.transport.ws.resume();

scenario('a slow reader is bounded in memory and ends up to date or closed', {}, async ({ system, room }) => {
  const writers = await system.connectMany(2);
  const sleepers = await system.connectMany(ASLEEP, { slow: true });
  for (const [index, client] of [...writers, ...sleepers].entries()) await client.join(room, `user-${index}`);
  await writers[0].sees(Array.from({ length: 2 + ASLEEP }, (_, index) => `user-${index}`));
  const [gateway] = system.gateways;
  const text = 'x'.repeat(STATE_BYTES);
  await Promise.all(writers.map((writer) => writer.patch({ text })));
  const before = residentBytes(gateway.pid);

  sleepers.forEach(fallAsleep);
  let peak = before;
  for (let n = 0; n < PATCHES / 2; n += 1) {
    await Promise.all(writers.map((writer) => writer.patch({ n })));
    if (n % 50 === 0) peak = Math.max(peak, residentBytes(gateway.pid));
  }
  assert.ok(peak - before < BOUND_BYTES, `the gateway grew by ${Math.round((peak - before) / MIB)} MiB`);
  sleepers.forEach(wakeUp);

  const last = PATCHES / 2 - 1;
  for (const sleeper of sleepers) {
    const upToDate = () => writers.every(({ connId }) => sleeper.roster.members.get(connId)?.state.n === last);
    await until('the sleeper to be up to date or closed', () => sleeper.disconnects.length > 0 || upToDate(), { within: 15_000 });
  }
  for (const writer of writers) {
    assert.equal(writer.roster.members.get(writers[0].connId).state.n, last);
    assert.equal(writer.syncs.length, 0, 'a reader that kept up was resynchronised');
  }
  // Those who were closed are gone for everybody; those who were not are still members.
  const stayed = sleepers.filter(({ disconnects }) => disconnects.length === 0);
  const users = [...writers, ...stayed].map(({ connId }) => connId).sort();
  await until('the roster to be exact', () => JSON.stringify([...writers[0].roster.members.keys()].sort()) === JSON.stringify(users), { within: 5000 });
}, { within: 120_000 });
