// The version before (commit 6f5448a) had other keys and channels, and another directory: on one Redis both stand next to each
// other, and neither sees the other.
import assert from 'node:assert/strict';

import { Soak } from '../harness/soak.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds } from '../harness/until.mjs';

// What a gateway of that version, which is gone, left behind in a room with two members, metadata and a lock.
async function leaveBehind(redis, room, now) {
  const key = (part) => `prs:{room:${room}}:${part}`;
  const gateway = 'presence-gateway-0000aaaa';
  const old = [
    ['HSET', key('conns'), 'old-1', `${now}\n1\n${gateway}\nann\n{}`, 'old-2', `${now}\n1\n${gateway}\nbob\n{}`],
    ['ZADD', key('last_seen'), String(now), 'old-1', String(now), 'old-2'],
    ['HSET', key('users'), 'ann', '1', 'bob', '1'],
    ['HSET', key('info'), 'gen', `${now}000`, 'seq', '2'],
    ['HSET', key('revisions'), 'T', `${now}000 ${now}`],
    ['HSET', key('meta:T'), 'k', '1 -\n\n"old"'],
    ['HSET', key('locks'), 'T\npen', `${now}000 ${now + 60_000} 1\n${gateway}\nold-1\nann`],
    ['ZADD', 'prs:due:3', String(now), room],
    ['SADD', `prs:node:${gateway}:rooms`, room],
    ['ZADD', 'prs:{directory}:presence-gateway', String(now - 60_000), gateway],
  ];
  for (const command of old) await redis.command(...command);
  return Promise.all(old.map(async ([, name]) => [name, await redis.command('DUMP', name)]));
}

scenario('next to the data of the previous version a system starts empty, works, and leaves that data alone', Soak.OPTIONS, async ({ system, room }) => {
  const before = await leaveBehind(system.redis, `${room}-0`, Date.now());
  await system.evictionsAllowed();
  const soak = await Soak.start(system, room);
  const [ann] = soak.members;
  assert.equal((await ann.metadata('getChannel', `${room}-0`, 'T')).majorRevision, 0);
  assert.equal((await ann.lock('acquire', `${room}-0`, 'pen')).ok, true);
  await soak.patch(1);
  await holds('no event about the old members arrives', () => !soak.anyoneLeft, { ms: 8000 });
  await soak.assertUnharmed();
  for (const [name, dump] of before) assert.deepEqual(await system.redis.command('DUMP', name), dump, `${name} was changed`);
});
