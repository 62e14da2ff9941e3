// Locks during failures: the queue continues, fences grow, and a paused holder cannot overwrite its successor.
import assert from 'node:assert/strict';

import { waitersKey } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const waiters = (system, room) => system.redis.command('ZCARD', waitersKey(room));

async function queue(system, room, gateways) {
  const sockets = [];
  for (const gateway of gateways) sockets.push(await system.connect(gateway));
  await Promise.all(sockets.map((socket, n) => socket.join(room, `user-${n}`)));
  return sockets;
}

// During any failure: a lock that is not held any more was released by an earlier attempt.
async function release(socket, room, { fence }) {
  await until('the lock to be let go', async () => {
    const { ok, code } = await socket.lock('release', room, 'pen', { fence });
    return ok || code === 'LOCK_LOST';
  });
}

// They wait one behind the other, hold the lock for a moment and let it go; resolves with the order in which they had it.
async function takeTurns(system, room, sockets) {
  const turns = [];
  const waits = [];
  for (const [n, socket] of sockets.entries()) {
    waits.push(socket.lock('acquire', room, 'pen', { waitMs: 10_000, ttlMs: 5000 }).then(async (answer) => {
      assert.equal(answer.ok, true, `socket ${n}: ${JSON.stringify(answer)}`);
      turns.push({ n, fence: answer.fence });
      await release(socket, room, answer);
    }));
    await until(`${n + 1} to stand in line`, async () => (await waiters(system, room)) === n + 1);
    await socket.lock('get', room); // its gateway knows as well: what a socket asks is answered in order
  }
  return { turns, done: Promise.all(waits) };
}

function assertOrder(turns, count, after) {
  assert.deepEqual(turns.map(({ n }) => n), Array.from({ length: count }, (_, n) => n));
  let last = after;
  for (const { fence } of turns) {
    assert.ok(fence > last, `fence ${fence} after ${last}`);
    last = fence;
  }
}

scenario('the holder\'s gateway is killed: the queue goes on', { gateways: 2, states: 2 }, async ({ system, room }) => {
  await system.evictionsAllowed();
  const [holder, ...sockets] = await queue(system, room, [0, 1, 1, 1, 1, 1]);
  const held = await holder.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const { turns, done } = await takeTurns(system, room, sockets);
  await system.gateways[0].kill();
  await done;
  assertOrder(turns, 5, held.fence);
});

scenario('the presence-state that serves the lock is killed: the queue continues', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const [holder, ...sockets] = await queue(system, room, [0, 1, 0, 1, 0, 1]);
  const held = await holder.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const { turns, done } = await takeTurns(system, room, sockets);
  // Which of them serves the room is not ours to know: one after the other.
  await system.states[0].kill();
  await system.addState();
  await system.states[1].kill();
  await release(holder, room, held);
  await done;
  assertOrder(turns, 5, held.fence);
});

scenario('dropped subscriptions lose no grant', { gateways: 2 }, async ({ system, room }) => {
  await system.evictionsAllowed();
  const [holder, ...sockets] = await queue(system, room, [0, 1, 1, 1, 1, 1]);
  const held = await holder.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  const { turns, done } = await takeTurns(system, room, sockets);
  const released = release(holder, room, held);
  for (let n = 0; n < 3; n += 1) {
    await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('a turn to end', () => turns.length > n);
  }
  await Promise.all([released, done]);
  assertOrder(turns, 5, held.fence);
});

scenario('a holder that was paused past its time cannot overwrite its successor', { gateways: 2 }, async ({ system, room }) => {
  const [paused, next] = await queue(system, room, [0, 1]);
  const held = await paused.lock('acquire', room, 'pen', { ttlMs: 1000 });
  system.gateways[0].pause();
  const late = paused.ask('metadata:setChannel', {
    channelName: room, channelType: 'T', data: [{ key: 'k', value: 'late' }], options: { lockName: 'pen', fence: held.fence },
  });
  const granted = await next.lock('acquire', room, 'pen', { waitMs: 10_000, ttlMs: 60_000 });
  assert.ok(granted.fence > held.fence);
  await next.metadata('setChannel', room, 'T', [{ key: 'k', value: 'mine' }], { lockName: 'pen', fence: granted.fence });
  system.gateways[0].resume();
  const { ok, code } = await late;
  assert.deepEqual([ok, code], [false, 'METADATA_LOCK']);
  assert.equal((await next.metadata('getChannel', room, 'T')).metadata.k.value, 'mine');
});

scenario('fences grow after a Redis that lost everything and a restart of every service', { gateways: 1 }, async ({ system, room }) => {
  const [ann] = await queue(system, room, [0]);
  const before = await ann.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  await system.redis.kill();
  await system.redis.restartEmpty();
  const after = await until('a lock to be had', async () => {
    const answer = await ann.lock('acquire', room, 'pen');
    return answer.ok && answer;
  }, { within: 10_000, every: 100 });
  assert.ok(after.fence > before.fence);
  await Promise.all(system.services.map((service) => service.terminate()));
  await Promise.all([system.addState(), system.addReaper(), system.addGateway()]);
  const [bob] = await queue(system, room, [1]);
  const last = await bob.lock('acquire', room, 'pen', { waitMs: 10_000 });
  assert.ok(last.fence > after.fence, JSON.stringify(last));
});
