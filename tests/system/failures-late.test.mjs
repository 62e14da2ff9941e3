// What was given up does not happen later, wherever it waited.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { holds, sleep, until } from '../harness/until.mjs';

scenario('a presence-state that hangs in the middle of its work carries out nothing of it when it continues', { gateways: 1, states: 2 }, async ({ system, room }) => {
  const writers = await system.connectMany(10, { follow: false });
  let answered = 0;
  const write = (writer, value) => writer.ask('metadata:setChannel', { channelName: room, channelType: 'T', data: [{ key: 'k', value }] });
  const flood = writers.flatMap((writer, index) => Array.from({ length: 50 }, async (_, n) => {
    const answer = await write(writer, `old ${index} ${n}`);
    answered += answer.ok ? 1 : 0;
    return answer;
  }));
  await until('the first writes to be answered', () => answered >= 20, { every: 1 });
  for (const state of system.states) state.pause();
  const codes = new Set((await Promise.all(flood)).map(({ code }) => code));
  assert.ok(codes.has('TIMEOUT') || codes.has('UNAVAILABLE'), [...codes].join());
  // One of them continues at once and serves everyone; the other one is late.
  system.states[1].resume();
  const newer = await until('a newer write to be answered well', async () => {
    const answer = await write(writers[0], 'newer');
    return answer.ok && answer;
  }, { within: 15_000, every: 200 });
  await sleep(3000); // the other one hangs for longer than any deadline
  system.states[0].resume();
  await holds('the newer write stands', async () => {
    const { metadata, majorRevision } = await writers[0].metadata('getChannel', room, 'T');
    return metadata.k.value === 'newer' && majorRevision === newer.majorRevision;
  }, { ms: 4000, every: 100 });
}, { within: 60_000 });
