// Locks, end to end: holding, waiting, guarding metadata, with two gateways and two presence-states.
import assert from 'node:assert/strict';

import { waitersKey } from '../harness/keys.mjs';
import { sharedSystem } from '../harness/scenario.mjs';
import { holds, until, withTimeout } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 2, states: 2 });

async function annAndBob(system, room) {
  const ann = await system.connect(0);
  const bob = await system.connect(1);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  return { ann, bob };
}

const types = (client, lockName) => client.locks.filter((event) => event.lockName === lockName).map(({ type }) => type);

test('acquire, renew, get and release, and everyone in the room is notified', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const held = await ann.lock('acquire', room, 'pen');
  assert.deepEqual(Object.keys(held), ['ok', 'lockName', 'fence', 'expiresAt']);
  assert.ok(Math.abs(held.expiresAt - Date.now() - 10_000) < 2000, 'ten seconds unless asked otherwise');

  const refused = await bob.lock('acquire', room, 'pen');
  assert.deepEqual([refused.ok, refused.code, refused.owner, refused.expiresAt], [false, 'LOCK_HELD', 'ann', held.expiresAt]);
  assert.equal((await bob.lock('acquire', room, 'other')).ok, true);

  const again = await ann.lock('acquire', room, 'pen', { ttlMs: 20_000 });
  assert.deepEqual([again.fence, again.expiresAt > held.expiresAt], [held.fence, true], 'acquiring again renews');
  const renewed = await ann.lock('renew', room, 'pen', { fence: held.fence, ttlMs: 30_000 });
  assert.ok(renewed.expiresAt > again.expiresAt);
  for (const answer of [
    await bob.lock('renew', room, 'pen', { fence: held.fence }),
    await ann.lock('renew', room, 'pen', { fence: held.fence - 1 }),
    await bob.lock('release', room, 'pen', { fence: held.fence }),
    await ann.lock('release', room, 'pen', { fence: held.fence + 1 }),
    await ann.lock('release', room, 'unknown', { fence: held.fence }),
  ]) assert.deepEqual([answer.ok, answer.code], [false, 'LOCK_LOST']);

  const { locks } = await bob.lock('get', room, 'pen');
  assert.deepEqual(locks, [{ lockName: 'pen', owner: 'ann', connId: ann.connId, fence: held.fence, expiresAt: renewed.expiresAt }]);
  assert.equal((await bob.lock('get', room)).locks.length, 2);
  assert.deepEqual((await bob.lock('get', room, 'unknown')).locks, []);

  assert.deepEqual(await ann.lock('release', room, 'pen', { fence: held.fence }), { ok: true });
  assert.equal((await ann.lock('release', room, 'pen', { fence: held.fence })).code, 'LOCK_LOST');
  const next = await bob.lock('acquire', room, 'pen');
  assert.ok(next.fence > held.fence);
  for (const member of [ann, bob]) {
    await until('all to be notified', () => types(member, 'pen').length === 3);
    assert.deepEqual(member.locks.filter(({ lockName }) => lockName === 'pen'), [
      { channelName: room, channelType: 'T', lockName: 'pen', type: 'acquired', owner: 'ann', fence: held.fence },
      { channelName: room, channelType: 'T', lockName: 'pen', type: 'released', owner: 'ann', fence: held.fence },
      { channelName: room, channelType: 'T', lockName: 'pen', type: 'acquired', owner: 'bob', fence: next.fence },
    ]);
  }
});

test('bad input and a socket in no room are refused, and take nothing', async ({ system, room }) => {
  const { ann } = await annAndBob(system, room);
  for (const [more, word] of [[{ ttlMs: -1 }, 'ttlMs'], [{ ttlMs: 300_001 }, 'ttlMs'], [{ waitMs: 10_001 }, 'waitMs'], [{ waitMs: '5' }, 'waitMs'], [{ lockName: '' }, 'lockName']]) {
    const answer = await ann.lock('acquire', room, 'pen', more);
    assert.deepEqual([answer.code, answer.error.includes(word)], ['INVALID_PAYLOAD', true], JSON.stringify(answer));
  }
  const stranger = await system.connect(0);
  assert.equal((await stranger.lock('acquire', room, 'pen')).code, 'NOT_JOINED');
  assert.deepEqual((await stranger.lock('get', room)).locks, []);
});

test('locks of other types, names and rooms have nothing in common', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const one = await ann.ask('lock:acquire', { channelName: room, channelType: 'T', lockName: 'pen' });
  const answers = [
    await bob.ask('lock:acquire', { channelName: room, channelType: 'U', lockName: 'pen' }),
    await bob.ask('lock:acquire', { channelName: room, channelType: 'T', lockName: 'pen:' }),
    await bob.ask('lock:acquire', { channelName: `${room}-2`, channelType: 'T', lockName: 'pen' }),
  ];
  assert.ok(one.ok && answers.every(({ ok }) => ok), JSON.stringify(answers));
});

test('a lock ends with its TTL, and everyone is notified', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const held = await ann.lock('acquire', room, 'pen', { ttlMs: 1000 });
  await until('the lock to expire', () => types(bob, 'pen').includes('expired'), { within: 3000 });
  assert.deepEqual(types(bob, 'pen'), ['acquired', 'expired']);
  assert.equal((await ann.lock('renew', room, 'pen', { fence: held.fence })).code, 'LOCK_LOST');
  assert.ok((await bob.lock('acquire', room, 'pen')).fence > held.fence);
});

for (const [how, end] of Object.entries({ leaves: (client) => client.leave(), disconnects: (client) => client.close() })) {
  test(`a holder that ${how} has no lock any more, here or elsewhere`, async ({ system, room }) => {
    const { ann, bob } = await annAndBob(system, room);
    for (const name of [room, `${room}-elsewhere`]) assert.equal((await ann.lock('acquire', name, 'pen', { ttlMs: 60_000 })).ok, true);
    await end(ann);
    for (const name of [room, `${room}-elsewhere`]) {
      const answer = await bob.lock('acquire', name, 'pen', { waitMs: 3000 });
      assert.equal(answer.ok, true, JSON.stringify(answer));
    }
  });
}

test('a waiter gets the lock when it is released, or is answered who holds it', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const held = await ann.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const late = await bob.lock('acquire', room, 'pen', { waitMs: 300 });
  assert.deepEqual([late.code, late.owner, late.expiresAt], ['LOCK_HELD', 'ann', held.expiresAt]);
  const waiting = bob.lock('acquire', room, 'pen', { waitMs: 8000 });
  await until('bob to stand in line', async () => (await system.redis.command('ZCARD', waitersKey(room))) === 1);
  const again = bob.lock('acquire', room, 'pen', { waitMs: 100 }); // as a client does whose own time was shorter
  assert.equal((await bob.beat()).ok, true, 'who waits goes on beating');
  const began = Date.now();
  await ann.lock('release', room, 'pen', { fence: held.fence });
  const granted = await waiting;
  assert.deepEqual(await again, granted, 'both requests are one wait');
  assert.ok(granted.ok && granted.fence > held.fence && Date.now() - began < 1000, JSON.stringify(granted));
  // A waiter that gave up never gets it.
  await bob.lock('release', room, 'pen', { fence: granted.fence });
  assert.deepEqual((await ann.lock('get', room)).locks, []);
});

test('a repeated request of a waiter may extend or end the wait', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const held = await ann.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const first = bob.lock('acquire', room, 'pen', { waitMs: 500 });
  const longer = bob.lock('acquire', room, 'pen', { waitMs: 8000 });
  await assert.rejects(withTimeout('an answer', 1500, Promise.race([first, longer])), /an answer/, 'the first time is over, and both wait on');
  await ann.lock('release', room, 'pen', { fence: held.fence });
  const granted = await first;
  assert.equal(granted.ok, true, JSON.stringify(granted));
  assert.deepEqual(await longer, granted);

  const other = ann.lock('acquire', room, 'pen', { waitMs: 8000 });
  await until('ann to stand in line', async () => (await system.redis.command('ZCARD', waitersKey(room))) === 1);
  const none = await ann.lock('acquire', room, 'pen', { waitMs: 0 });
  assert.deepEqual([none.code, none.owner, (await other).code], ['LOCK_HELD', 'bob', 'LOCK_HELD']);
  assert.equal(await system.redis.command('ZCARD', waitersKey(room)), 0, 'no one stands in line any more');
  await bob.lock('release', room, 'pen', { fence: granted.fence });
  assert.deepEqual((await ann.lock('get', room)).locks, [], 'who gave up never has it');
});

test('a waiter gets the lock when the holder\'s TTL ends', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const held = await ann.lock('acquire', room, 'pen', { ttlMs: 1000 });
  const granted = await bob.lock('acquire', room, 'pen', { waitMs: 8000 });
  assert.ok(granted.ok && granted.fence > held.fence);
  await until('ann to be notified', () => types(ann, 'pen').length === 3);
  assert.deepEqual(types(ann, 'pen'), ['acquired', 'expired', 'acquired']);
});

test('50 sockets queue for one lock, some of them vanish, and each of the others gets it once, in order', async ({ system, room }) => {
  const sockets = await system.connectMany(50);
  await Promise.all(sockets.map((socket, n) => socket.join(room, `user-${n}`)));
  const holder = await system.connect(0);
  await holder.join(room, 'holder');
  const first = await holder.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const granted = [];
  const standing = async (count) => until(`${count} to stand in line`, async () => (await system.redis.command('ZCARD', waitersKey(room))) === count);
  const waits = [];
  for (const [n, socket] of sockets.entries()) {
    waits.push(socket.lock('acquire', room, 'pen', { waitMs: 10_000, ttlMs: 60_000 }).then(async (answer) => {
      assert.equal(answer.ok, true, `socket ${n}: ${JSON.stringify(answer)}`);
      granted.push({ n, fence: answer.fence });
      await socket.lock('release', room, 'pen', { fence: answer.fence });
    }));
    await standing(n + 1);
  }
  const vanished = sockets.filter((_, n) => n % 5 === 2);
  const stay = waits.filter((_, n) => n % 5 !== 2);
  waits.filter((_, n) => n % 5 === 2).forEach((wait) => wait.catch(() => {}));
  vanished.forEach((socket) => socket.close());
  await standing(40);
  await holder.lock('release', room, 'pen', { fence: first.fence });
  await Promise.all(stay);
  assert.deepEqual(granted.map(({ n }) => n), sockets.map((_, n) => n).filter((n) => n % 5 !== 2), 'first come, first served');
  const fences = [first.fence, ...granted.map(({ fence }) => fence)];
  assert.ok(fences.every((fence, n) => n === 0 || fence > fences[n - 1]), fences.join());
});

test('a lock guards metadata: only its holder writes, and only under the current fence', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const write = (client, value, options) => client.ask('metadata:setChannel', {
    channelName: room, channelType: 'T', data: [{ key: 'k', value }], options: { lockName: 'pen', ...options },
  });
  assert.equal((await write(ann, 0)).code, 'METADATA_LOCK', 'no one holds it');
  const held = await ann.lock('acquire', room, 'pen', { ttlMs: 1000 });
  assert.equal((await write(ann, 1)).ok, true);
  assert.equal((await write(ann, 2, { fence: held.fence })).ok, true);
  assert.equal((await write(ann, 3, { fence: held.fence - 1 })).code, 'METADATA_LOCK');
  assert.equal((await write(bob, 4)).code, 'METADATA_LOCK');
  const next = await bob.lock('acquire', room, 'pen', { waitMs: 5000 });
  assert.equal((await write(ann, 5, { fence: held.fence })).code, 'METADATA_LOCK', 'its time is over');
  assert.equal((await write(bob, 6, { fence: next.fence })).ok, true);
  assert.equal((await ann.metadata('getChannel', room, 'T')).metadata.k.value, 6);
});

test('200 writers under a lock from 20 sockets lose nothing', async ({ system, room }) => {
  const sockets = await system.connectMany(20);
  await Promise.all(sockets.map((socket, n) => socket.join(room, `user-${n}`)));
  await sockets[0].metadata('setChannel', room, 'T', [{ key: 'n', value: 0 }]);
  await Promise.all(sockets.map(async (socket) => {
    for (let n = 0; n < 10; n += 1) {
      const held = await socket.lock('acquire', room, 'pen', { waitMs: 10_000 });
      assert.equal(held.ok, true, JSON.stringify(held));
      const { metadata } = await socket.metadata('getChannel', room, 'T');
      await socket.metadata('updateChannel', room, 'T', [{ key: 'n', value: metadata.n.value + 1 }], { lockName: 'pen', fence: held.fence });
      await socket.lock('release', room, 'pen', { fence: held.fence });
    }
  }));
  assert.equal((await sockets[0].metadata('getChannel', room, 'T')).metadata.n.value, 200);
});

test('a socket that leaves while it waits is answered so, and never gets the lock', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const held = await ann.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const waiting = bob.lock('acquire', room, 'pen', { waitMs: 8000 });
  await until('bob to stand in line', async () => (await system.redis.command('ZCARD', waitersKey(room))) === 1);
  await bob.leave();
  assert.equal((await waiting).code, 'NOT_JOINED');
  await ann.lock('release', room, 'pen', { fence: held.fence });
  await holds('no one gets it', () => !types(ann, 'pen').slice(1).includes('acquired'), { ms: 300 });
});
