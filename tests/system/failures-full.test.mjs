// A Redis whose memory is full: nothing new is stored, and clients are answered so; members stay, reads and leaves work.
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';

import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const MIB = 1024 * 1024;

const usedBytes = async (server) => Number(/used_memory:(\d+)/.exec(await server.command('INFO', 'memory'))[1]);
const setLimit = (server, bytes) => server.command('CONFIG', 'SET', 'maxmemory', String(bytes));

scenario('metadata that fills Redis is refused, and costs no one their presence', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await system.connectMany(6);
  for (const [index, member] of members.entries()) await member.join(room, `user-${index}`, { n: 0 });
  const flooder = await system.connect(0, { follow: false });
  const servers = await system.redis.masters();
  const limits = await Promise.all(servers.map(async (server) => await usedBytes(server) + 6 * MIB));
  await Promise.all(servers.map((server, index) => setLimit(server, limits[index])));
  const value = 'x'.repeat(12 * 1024);
  let [channels, refused] = [0, 0];
  // So many refusals in a row that every master of a cluster was asked.
  for (; refused < 24; channels += 1) {
    const data = Array.from({ length: 4 }, (_, key) => ({ key: `k${key}`, value }));
    const answer = await flooder.ask('metadata:setChannel', { channelName: `junk-${channels}`, channelType: 'T', data });
    refused = answer.ok ? 0 : refused + 1;
    if (!answer.ok) assert.equal(answer.code, 'OVERLOADED', JSON.stringify(answer));
    assert.ok(channels < 2000, 'nothing was refused');
  }
  // Nearly full: presence has the rest.
  const guest = await system.connect(1, { follow: false });
  await guest.join(`${room}-other`, 'guest', { text: value });
  for (const [n, member] of members.entries()) await member.patch({ n: n + 10 });
  const { fence } = await members[0].lock('acquire', room, 'pen');
  assert.equal((await members[0].lock('release', room, 'pen', { fence })).ok, true);
  await guest.leave();

  for (const [index, server] of servers.entries()) {
    const used = await usedBytes(server);
    assert.ok(used < limits[index], `${used} bytes are used where ${limits[index]} were allowed`);
    await setLimit(server, used - MIB); // full, whatever it frees by itself
  }

  await holds('everyone stays, and every service is ready', async () => {
    for (const member of members) assert.equal((await member.ask('presence:heartbeat', {})).ok, true);
    for (const service of system.services) assert.equal((await service.get('/readyz')).status, 200);
    return members.every((member) => member.count({ type: 'leave' }) === 0);
  }, { ms: 12_000, every: 500 });
  const said = (text) => system.states.map(({ child }) => child.lines.filter((line) => line.includes(text)).length);
  assert.equal((await members[0].ask('presence:heartbeat', { patchState: { text: value } })).code, 'OVERLOADED');
  assert.equal((await flooder.ask('presence:join', { roomId: 'new', userId: 'eve' })).code, 'OVERLOADED');
  assert.equal((await flooder.metadata('getChannel', 'junk-0', 'T')).metadata.k0.value, value, 'reads go on');
  const full = () => said('Redis is full: maxmemory is reached');
  assert.ok(full().includes(1) && full().every((count) => count <= 1), `said once, not with each refusal: ${full()}`);
  await members[5].leave();
  await members[0].sees(['user-0', 'user-1', 'user-2', 'user-3', 'user-4']);

  // What frees memory is done, and then there is room again.
  for (let n = 0; n < channels; n += 1) await flooder.metadata('removeChannel', `junk-${n}`, 'T');
  await until('a patch to be taken again', async () => (await members[0].ask('presence:heartbeat', { patchState: { n: 1 } })).ok);
  await members[1].receives({ type: 'update', connId: members[0].connId });
  await until('those that said it to say that it is over', () => isDeepStrictEqual(said('Redis has memory again'), full()), { within: 15_000 });
}, { within: 90_000 });
