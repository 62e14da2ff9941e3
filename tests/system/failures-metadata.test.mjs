// Channel metadata while things break: no write is lost or applied twice, no member keeps an old copy, no revision comes
// again.
import assert from 'node:assert/strict';

import { ROOM_KEYS } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { SHORT_LIVES } from '../harness/system.mjs';
import { sleep, until } from '../harness/until.mjs';

const TYPE = 'T';

async function members(system, room, count) {
  const clients = await system.connectMany(count);
  await Promise.all(clients.map((client, n) => client.join(room, `user-${n}`)));
  await clients[0].metadata('setChannel', room, TYPE, clients.map((_, n) => ({ key: `k${n}`, value: 0 })));
  await Promise.all(clients.map((client) => client.metadata('getChannel', room, TYPE)));
  return clients;
}

// Everyone counts up a key of its own, without a condition: a write that were applied twice would show in its revision.
function counting(clients, room) {
  const counts = clients.map(() => 0);
  const codes = [];
  let running = true;
  const loops = clients.map(async (client, n) => {
    while (running) {
      const data = [{ key: `k${n}`, value: counts[n] + 1 }];
      const answer = await client.ask('metadata:updateChannel', { channelName: room, channelType: TYPE, data });
      if (answer.ok) counts[n] += 1;
      else codes.push(answer.code);
      await sleep(5);
    }
  });
  const sum = () => counts.reduce((all, count) => all + count, 0);
  return {
    codes,
    async flows(count) {
      const goal = sum() + count;
      await until(`${count} more writes`, () => sum() >= goal);
    },
    async stop() {
      running = false;
      await Promise.all(loops);
      return counts;
    },
  };
}

async function assertExact(clients, room, counts) {
  const { majorRevision, metadata } = await clients[0].metadata('getChannel', room, TYPE);
  const expected = Object.fromEntries(counts.map((count, n) => [`k${n}`, { value: count, revision: count + 1 }]));
  assert.deepEqual(metadata, expected);
  await until('every member to know the last revision', () => clients.every((client) => client.channels.get(room, TYPE).majorRevision === majorRevision));
  for (const client of clients) assert.deepEqual(client.channels.get(room, TYPE).items, expected);
}

scenario('a state instance that dies between write and answer applies nothing twice', { gateways: 2, states: 4 }, async ({ system, room }) => {
  const clients = await members(system, room, 12);
  const load = counting(clients, room);
  for (const victim of [0, 1, 2]) {
    await load.flows(150);
    await system.states[victim].kill();
  }
  await load.flows(150);
  const counts = await load.stop();
  assert.deepEqual(load.codes, [], 'a retry is all that a death costs');
  await assertExact(clients, room, counts);
});

scenario('members whose gateway loses its subscription miss no change', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const clients = await members(system, room, 12);
  const load = counting(clients, room);
  for (let n = 0; n < 3; n += 1) {
    await load.flows(100);
    await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('the gateways to hear again', async () => (await Promise.all(system.gateways.map((gateway) => gateway.get('/readyz')))).every(({ status }) => status === 200));
  }
  await load.flows(100);
  await load.stop();
  const { majorRevision, metadata } = await clients[0].metadata('getChannel', room, TYPE);
  const items = Object.fromEntries(Object.entries(metadata).map(([key, { value, revision }]) => [key, { value, revision }]));
  await until('every member to know the last revision', () => clients.every((client) => client.channels.get(room, TYPE).majorRevision === majorRevision));
  for (const client of clients) assert.deepEqual(client.channels.get(room, TYPE).items, items);
});

scenario('after a Redis that lost everything no revision comes again', { gateways: 2 }, async ({ system, room }) => {
  const clients = await members(system, room, 4);
  const before = await clients[0].metadata('updateChannel', room, TYPE, [{ key: 'k1', value: 'old' }]);
  await until('everyone to have received it', () => clients.every((client) => client.changes.at(-1)?.majorRevision === before.majorRevision));
  await system.redis.kill();
  await system.redis.restartEmpty();
  // Members of the room are notified: the channel is empty, under a revision above all earlier ones.
  const last = await until('the loss to be reported', () => clients.every((client) => client.changes.at(-1).majorRevision > before.majorRevision) && clients[3].changes.at(-1), { within: 10_000 });
  assert.deepEqual([last.operation, last.items], ['set', []]);
  await Promise.all(system.services.map((service) => service.ready(10_000)));
  const stale = await clients[1].ask('metadata:setChannel', {
    channelName: room, channelType: TYPE, data: [{ key: 'k', value: 'late' }], options: { majorRevision: before.majorRevision },
  });
  assert.equal(stale.code, 'METADATA_CONFLICT');
  const again = await clients[2].metadata('setChannel', room, TYPE, [{ key: 'k', value: 'new' }], { majorRevision: last.majorRevision });
  assert.equal(again.majorRevision, last.majorRevision + 1);

  // A channel that no gateway knew starts over with its next write, above earlier revisions as well.
  const other = await clients[0].metadata('setChannel', `${room}-other`, TYPE, [{ key: 'k' }]);
  await system.redis.kill();
  await system.redis.restartEmpty();
  await until('writes to work again', async () => (await clients[0].ask('metadata:setChannel', { channelName: `${room}-other`, channelType: TYPE })).ok, { within: 10_000, every: 100 });
  // In an empty Redis presence-state is found again by its next lease.
  const born = await until('reads to work again', async () => {
    const answer = await clients[0].ask('metadata:getChannel', { channelName: `${room}-other`, channelType: TYPE });
    return answer.ok && answer;
  }, { within: 5_000, every: 100 });
  assert.ok(born.majorRevision > other.majorRevision, `${born.majorRevision} after ${other.majorRevision}`);
});

scenario('metadata expires after its time without writes and members, and not before', {
  env: { ...SHORT_LIVES, METADATA_TTL_MS: '4000' },
}, async ({ system, room }) => {
  const [member, writer] = await system.connectMany(2, { follow: false });
  await member.join(room, 'ann');
  const pulse = member.pulse({ everyMs: 500 });
  for (const name of [room, `${room}-empty`]) await writer.metadata('setChannel', name, TYPE, [{ key: 'k', value: 1 }]);
  const count = async (name) => (await writer.metadata('getChannel', name, TYPE)).totalCount;
  await until('the channel without members to be gone', async () => (await count(`${room}-empty`)) === 0, { within: 10_000, every: 200 });
  await sleep(2000);
  assert.equal(await count(room), 1, 'someone is in its room');
  await pulse.stop();
  await member.leave();
  await until('every key of the channels to be gone', async () => (await system.redis.keys(ROOM_KEYS)).length === 0, { within: 40_000, every: 200 });
});
