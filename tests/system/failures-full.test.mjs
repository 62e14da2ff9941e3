// A Redis whose memory is full: nothing new is stored and everyone is told so; who is there stays, reads and leaves go on.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

scenario('metadata that fills Redis is refused, and costs no one their presence', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await system.connectMany(6);
  for (const [index, member] of members.entries()) await member.join(room, `user-${index}`, { n: 0 });
  const flooder = await system.connect(0, { follow: false });
  const used = Number(/used_memory:(\d+)/.exec(await system.redis.command('INFO', 'memory'))[1]);
  const limit = used + 6 * 1024 * 1024;
  await system.redis.command('CONFIG', 'SET', 'maxmemory', String(limit));
  const value = 'x'.repeat(12 * 1024);
  let refused;
  for (let n = 0; !refused; n += 1) {
    const data = Array.from({ length: 4 }, (_, key) => ({ key: `k${key}`, value }));
    const answer = await flooder.ask('metadata:setChannel', { channelName: `junk-${n}`, channelType: 'T', data });
    if (!answer.ok) refused = answer;
    assert.ok(n < 2000, 'nothing was refused');
  }
  assert.equal(refused.code, 'OVERLOADED', JSON.stringify(refused));
  const now = Number(/used_memory:(\d+)/.exec(await system.redis.command('INFO', 'memory'))[1]);
  assert.ok(now < limit + 2 * 1024 * 1024, `${now} bytes are used where ${limit} were allowed`);
  await system.redis.command('CONFIG', 'SET', 'maxmemory', String(now - 1024 * 1024)); // full, whatever it frees by itself

  await holds('everyone stays, and every service is ready', async () => {
    for (const member of members) assert.equal((await member.ask('presence:heartbeat', {})).ok, true);
    for (const service of system.services) assert.equal((await service.get('/readyz')).status, 200);
    return members.every((member) => member.count({ type: 'leave' }) === 0);
  }, { ms: 12_000, every: 500 });
  assert.equal((await members[0].ask('presence:heartbeat', { patchState: { text: value } })).code, 'OVERLOADED');
  assert.equal((await flooder.ask('presence:join', { roomId: 'new', userId: 'eve' })).code, 'OVERLOADED');
  assert.equal((await flooder.metadata('getChannel', 'junk-0', 'T')).metadata.k0.value, value, 'reads go on');
  await members[5].leave();
  await members[0].sees(['user-0', 'user-1', 'user-2', 'user-3', 'user-4']);

  // What frees memory is done, and then there is room again.
  for (let n = 0; n < 40; n += 1) await flooder.metadata('removeChannel', `junk-${n}`, 'T');
  await until('a patch to be taken again', async () => (await members[0].ask('presence:heartbeat', { patchState: { n: 1 } })).ok);
  await members[1].hears({ type: 'update', connId: members[0].connId });
}, { within: 90_000 });
