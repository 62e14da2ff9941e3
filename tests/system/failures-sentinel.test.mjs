// A Redis whose master dies while sentinels watch: the services follow them to the replica.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { RedisSentinel } from '../harness/sentinel.mjs';
import { until } from '../harness/until.mjs';

scenario('after the sentinels made the replica master, rooms go on and nothing is lost', { redis: RedisSentinel, gateways: 2, states: 2 }, async ({ system, room }) => {
  const [ann, bob] = await system.connectMany(2);
  await ann.join(room, 'ann', { step: 1 });
  await bob.join(room, 'bob');
  const { fence } = await ann.lock('acquire', room, 'pen', { ttlMs: 60_000 });
  await ann.metadata('setChannel', room, 'T', [{ key: 'k', value: 1 }]);
  // On the replica too before its master dies: replication is not waited for by anybody else.
  await system.redis.command('WAIT', 1, 5000);

  await system.redis.lose();
  await until('a patch to be answered', async () => {
    const answer = await ann.ask('presence:heartbeat', { patchState: { step: 2 } });
    if (!answer.ok) throw new Error(JSON.stringify(answer));
    return true;
  }, { within: 20_000, every: 200 });
  await until('bob to hear of it', () => bob.roster.members.get(ann.connId)?.state.step === 2, { within: 20_000 });
  await bob.sees(['ann', 'bob']);
  assert.equal((await bob.metadata('getChannel', room, 'T')).metadata.k.value, 1);
  assert.equal((await ann.lock('release', room, 'pen', { fence })).ok, true);
  assert.ok((await bob.lock('acquire', room, 'pen')).fence > fence, 'a fence went back');
}, { within: 90_000 });
