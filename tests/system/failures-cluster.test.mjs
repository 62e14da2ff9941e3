// A Redis Cluster that loses a master, or moves its work to a replica: rooms on that master continue where they were.
import assert from 'node:assert/strict';

import { RedisCluster } from '../harness/cluster.mjs';
import { roomKey } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const OPTIONS = { redis: RedisCluster, gateways: 2, states: 2 };
const BACK_MS = 20_000;

// Rooms of two members on two gateways, some on every master, with metadata and a lock each.
async function populate(system, room) {
  const rooms = Array.from({ length: 24 }, (_, index) => `${room}-${index}`);
  return Promise.all(rooms.map(async (id) => {
    const [ann, bob] = await system.connectMany(2);
    await ann.join(id, 'ann', { patches: 0 });
    await bob.join(id, 'bob');
    await ann.metadata('setChannel', id, 'T', [{ key: 'k', value: 1 }]);
    const { fence } = await ann.lock('acquire', id, 'pen', { ttlMs: 60_000 });
    return { id, ann, bob, fence, patches: 0 };
  }));
}

// Ann's patch is answered and reaches bob, whatever it takes until then.
async function works(one) {
  one.patches += 1;
  const wanted = one.patches;
  await until(`a patch of ${one.id} to be answered`, async () => {
    const answer = await one.ann.ask('presence:heartbeat', { patchState: { patches: wanted } });
    if (!answer.ok) throw new Error(JSON.stringify(answer));
    return true;
  }, { within: BACK_MS, every: 200 });
  await until(`bob to receive it in ${one.id}`, () => one.bob.roster.members.get(one.ann.connId)?.state.patches === wanted, { within: BACK_MS });
}

async function onEachMaster(system, all) {
  const masters = new Set();
  for (const one of all) {
    one.master = await system.redis.masterOf(roomKey(one.id));
    masters.add(one.master);
  }
  assert.equal(masters.size, 3, 'the rooms are not spread over all masters');
}

scenario('a master that dies: its rooms are UNAVAILABLE until the replica has taken over, then whole', OPTIONS, async ({ system, room }) => {
  const all = await populate(system, room);
  await onEachMaster(system, all);
  await Promise.all(all.map(works));
  const [{ master }] = all;
  await system.redis.lose(master);
  await Promise.all(all.map(works));
  for (const one of all) {
    await one.bob.sees(['ann', 'bob'], BACK_MS);
    const channel = await one.bob.metadata('getChannel', one.id, 'T');
    assert.equal(channel.metadata.k.value, 1, 'metadata was lost with a master that had a replica');
    const next = await one.bob.lock('acquire', one.id, 'pen');
    assert.equal(next.code, 'LOCK_HELD');
    assert.equal((await one.ann.lock('release', one.id, 'pen', { fence: one.fence })).ok, true);
    assert.ok((await one.bob.lock('acquire', one.id, 'pen')).fence > one.fence, 'a fence went back');
  }
}, { within: 90_000 });

scenario('a master that changes places with its replica: no one misses an event', OPTIONS, async ({ system, room }) => {
  const all = await populate(system, room);
  await onEachMaster(system, all);
  await Promise.all(all.map(works));
  for (const master of await system.redis.masters()) {
    await system.redis.swap(master);
    await Promise.all(all.map(works));
  }
  // A newcomer is seen by all, and everything from before is still there.
  await Promise.all(all.map(async (one) => {
    const eve = await system.connect(1);
    await eve.join(one.id, 'eve');
    await one.ann.sees(['ann', 'bob', 'eve'], BACK_MS);
    await one.bob.metadata('updateChannel', one.id, 'T', [{ key: 'k', value: 2 }]);
    await until(`ann to hear of the change in ${one.id}`, () => one.ann.changes.some((change) => change.channelName === one.id && change.items.some(({ value }) => value === 2)), { within: BACK_MS });
    assert.equal((await one.ann.lock('release', one.id, 'pen', { fence: one.fence })).ok, true);
  }));
}, { within: 90_000 });
