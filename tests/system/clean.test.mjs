// Nothing stays in Redis: after everyone has left only the directory does, and after the services have stopped no more of it
// than a number and some names.
import assert from 'node:assert/strict';

import { ROOM_KEYS } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { SHORT_LIVES } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';

const OPTIONS = { gateways: 2, states: 2, reapers: 2, env: { ...SHORT_LIVES, METADATA_TTL_MS: '2000' } };
// A connection's last write to a channel is remembered for 30 s.
const EXPIRED_MS = 40_000;

// Everything that leaves traces: rooms, two tabs, patches, rejoins, awkward names, metadata, locks, leaves of every kind.
async function liveALittle(system, room) {
  const clients = await system.connectMany(20);
  await Promise.all(clients.map(async (client, index) => {
    await client.join(index % 5 ? `${room}-${index % 4}` : `a{b}-${index}`, `user-${index % 7}`, { index });
    await client.patch({ patched: true });
    await client.beat();
    const elsewhere = `${room}-${index % 3}`;
    await client.metadata('setChannel', elsewhere, 'T', [{ key: 'k', value: index }]);
    // Some hold a lock, some wait for one until they leave.
    assert.equal((await client.lock('acquire', elsewhere, `pen-${index}`, { ttlMs: 10_000 })).ok, true);
    if (index % 2) client.socket.emit('lock:acquire', { channelName: elsewhere, channelType: 'T', lockName: `pen-${index - 1}`, waitMs: 10_000 });
  }));
  return clients;
}

async function keysBecome(redis, expected, within) {
  await until(`the keys to be ${expected}`, async () => {
    const keys = await redis.keys();
    if (keys.join() !== expected.join()) throw new Error(`the keys are ${keys.join(' ')}`);
    return true;
  }, { within, every: 200 });
}

scenario('after everyone left only the directory remains, and after SIGTERM nothing', OPTIONS, async ({ system, room }) => {
  const directory = await system.redis.keys();
  assert.ok(directory.length > 0, 'the services are in no directory');
  const clients = await liveALittle(system, room);
  assert.ok((await system.redis.keys(ROOM_KEYS)).length > 0);
  await Promise.all(clients.slice(0, 10).map((client) => client.leave()));
  clients.forEach((client) => client.close());
  await keysBecome(system.redis, directory, EXPIRED_MS);

  await Promise.all(system.services.map((service) => service.terminate()));
  await keysBecome(system.redis, directory.filter((key) => !key.endsWith(':leases')), 8000);
}, { within: 80_000 });

scenario('after kill -9 of everything the next system cleans up', OPTIONS, async ({ system, room }) => {
  await liveALittle(system, room);
  await Promise.all(system.services.map((service) => service.kill()));
  system.closeClients();
  await Promise.all([system.addState(), system.addReaper()]);
  await until('every room key to be gone', async () => (await system.redis.keys(ROOM_KEYS)).length === 0, { within: EXPIRED_MS, every: 200 });
});

scenario('two members that leave together leave no room behind in the index of their gateway', {}, async ({ system, room }) => {
  const members = await system.connectMany(40, { follow: false });
  await Promise.all(members.map((member, index) => member.ask('presence:join', { roomId: `${room}-${index >> 1}`, userId: 'u' })));
  await Promise.all(members.map((member) => member.ask('presence:leave')));
  await until('the gateway to be in no room', async () => (await system.redis.keys(ROOM_KEYS)).length === 0, { within: 3000 });
});
