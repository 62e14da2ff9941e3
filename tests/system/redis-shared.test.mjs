// Two systems on one Redis, each with a prefix of its own: neither hears anything of the other, in rooms, metadata and locks of the same
// names, nor when a gateway of one dies.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Redis } from '../harness/redis.mjs';
import { System } from '../harness/system.mjs';
import { holds } from '../harness/until.mjs';

const GONE_MS = 20_000;

async function start(redis, prefix) {
  const system = new System({ url: redis.url, child: redis.child, kill: () => {} }, { REDIS_KEY_PREFIX: prefix });
  await system.addState();
  await Promise.all([system.addReaper({ PRESENCE_REAPER_INTERVAL_MS: '300' }), system.addGateway(), system.addGateway()]);
  return system;
}

test('systems with different prefixes do not hear each other', { timeout: 90_000 }, async (t) => {
  const redis = await Redis.start();
  const systems = await Promise.all(['prs', 'prs-2'].map((prefix) => start(redis, prefix)));
  t.after(async () => {
    await Promise.all(systems.map((system) => system.close()));
    await redis.kill();
  });
  try {
    const [[ann, bob], [cyd, dan]] = await Promise.all(systems.map((system) => system.connectMany(2)));
    for (const [user, member] of Object.entries({ ann, bob, cyd, dan })) await member.join('room', user, { n: 0 });
    await Promise.all([ann.sees(['ann', 'bob']), cyd.sees(['cyd', 'dan'])]);

    await ann.metadata('setChannel', 'room', 'T', [{ key: 'k', value: 1 }]);
    const [first, second] = [await ann.lock('acquire', 'room', 'pen'), await cyd.lock('acquire', 'room', 'pen')];
    assert.deepEqual([first.ok, second.ok], [true, true]);
    assert.deepEqual((await cyd.metadata('getChannel', 'room', 'T')).metadata, {});
    assert.equal((await ann.patch({ n: 1 })).changed, true);

    await systems[0].evictionsAllowed();
    await systems[0].gateways[1].kill();
    await ann.receives({ type: 'leave', userId: 'bob', reason: 'node_lost' }, GONE_MS);
    await holds('the others hear nothing', () => {
      for (const member of [cyd, dan]) {
        assert.equal(member.count({ type: 'leave' }) + member.count({ type: 'update' }) + member.changes.length, 0);
        assert.ok(member.locks.every(({ owner }) => owner !== 'ann'));
      }
      return true;
    }, { ms: 1000 });
    const keys = await redis.keys();
    assert.ok(keys.length > 0 && keys.every((key) => /^prs(-2)?:/.test(key)), keys.join('\n'));
    assert.deepEqual(systems.flatMap((system) => system.complaints()), []);
  } catch (error) {
    t.diagnostic(systems.map((system) => system.report()).join('\n'));
    throw error;
  }
});
