// Redis comes back with data of a moment ago: what it acknowledged since is lost there, and known to the gateways.
import assert from 'node:assert/strict';

import { Soak } from '../harness/soak.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, sleep, until } from '../harness/until.mjs';

scenario('an older append-only file is put back while patches flow: every roster is right, no one leaves, no epoch goes back', Soak.OPTIONS, async ({ system, room }) => {
  const soak = await Soak.start(system, room);
  await soak.patch(1);
  await sleep(1000); // gateways ask every 0.75 s whether Redis is as it was: these members are older than the last answer
  const [stays, leaves] = [soak.members[0], soak.members[1]];
  const putBack = system.redis.keepData();

  // After that moment: patches, one who joined, one who left, an epoch that was adopted.
  await soak.patch(2);
  const late = await system.connect(0);
  await late.join(soak.room(0), 'late', { late: true });
  const adopted = (await stays.beat()).epoch + 1000;
  await stays.beat({ epoch: adopted });
  await leaves.leave();
  await until('the leave to be seen', () => stays.roster.members.size === 3);
  await system.redis.kill();
  putBack();
  await system.redis.restart();

  const others = soak.members.filter((member) => member !== leaves);
  await until('everyone to be answered well again', async () => (await stays.ask('presence:heartbeat', {})).ok, { within: 15_000 });
  await holds('no one is sent a leave or a join', () => {
    const unexpected = [...others, late].flatMap(({ events }) => events.filter(({ type, userId, resync }) => (type === 'leave' && userId !== 'user-1') || (resync && userId === 'user-1')));
    assert.deepEqual(unexpected, []);
    return true;
  }, { ms: 15_000 });
  assert.ok((await stays.beat()).epoch >= adopted, 'the epoch went back');
  for (const { roster } of others) for (const { state } of roster.members.values()) assert.ok(state.late || state.n === 2, JSON.stringify(state));
  // And the room continues.
  soak.members = others;
  await soak.patch(3);
  for (const { roster } of others) await until('the last patches to be seen', () => [...roster.members.values()].every(({ state }) => state.late || state.n === 3));
}, { within: 120_000 });

scenario('an older append-only file is put back: members are sent the current metadata, and no revision repeats', { gateways: 2, states: 2, durable: true }, async ({ system, room }) => {
  const [ann, bob] = await system.connectMany(2);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  const before = await ann.metadata('setChannel', room, 'T', [{ key: 'score', value: 0 }]);
  const putBack = system.redis.keepData();
  let lost;
  for (const score of [10, 11, 12]) lost = await ann.metadata('updateChannel', room, 'T', [{ key: 'score', value: score }]);
  await until('bob to know', () => bob.changes.at(-1)?.majorRevision === lost.majorRevision);
  await system.redis.kill();
  putBack();
  await system.redis.restart();

  await until('bob to be sent the current content', () => {
    const { majorRevision, operation, items } = bob.changes.at(-1);
    return majorRevision > lost.majorRevision + 1 && operation === 'set' && items[0].value === before.metadata.score.value;
  }, { within: 20_000 });
  const stale = await until('the stale write to be answered', async () => {
    const answer = await bob.ask('metadata:updateChannel', {
    channelName: room, channelType: 'T', data: [{ key: 'score', value: 13 }], options: { majorRevision: lost.majorRevision },
    });
    return answer.code !== 'UNAVAILABLE' && answer;
  }, { within: 10_000, every: 200 });
  assert.equal(stale.code, 'METADATA_CONFLICT', JSON.stringify(stale));
  const next = await until('a write to be answered well', async () => {
    const answer = await ann.ask('metadata:updateChannel', { channelName: room, channelType: 'T', data: [{ key: 'score', value: 100 }] });
    return answer.ok && answer;
  }, { within: 10_000, every: 200 });
  assert.ok(next.majorRevision > lost.majorRevision + 1, 'a revision came again');
  const byItem = await bob.ask('metadata:updateChannel', {
    channelName: room, channelType: 'T', data: [{ key: 'score', value: 13, revision: lost.metadata.score.revision }],
  });
  assert.equal(byItem.code, 'METADATA_CONFLICT', JSON.stringify(byItem));
  await until('bob to be notified', () => bob.changes.at(-1).majorRevision === next.majorRevision);
}, { within: 90_000 });
