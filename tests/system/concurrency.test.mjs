// Many at once: the roster is exact in the end, and every member has received every event in order.
import assert from 'node:assert/strict';

import { TRANSPORTS } from '../harness/client.mjs';
import { sharedSystem } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 2, states: 2 });

const MANY = 200;

// Every member has received the room's events up to `seq`; its roster has checked that there was no gap.
function allHeardUpTo(members, seq) {
  return until(`all ${members.length} members to have received seq ${seq}`, () => members.every(({ roster }) => roster.seq === seq), { within: 15_000 });
}

const userOf = (index) => `user-${index % (MANY / 2)}`; // each user has two tabs

test('200 concurrent joins, then 100 leaves among patches, end in the exact roster', async ({ system, room }) => {
  const clients = await system.connectMany(MANY);
  const answers = await Promise.all(clients.map((client, index) => client.join(room, userOf(index), { index })));

  const { gen } = answers[0];
  const seqs = answers.map(({ seq }) => seq).sort((a, b) => a - b);
  assert.deepEqual(seqs, Array.from({ length: MANY }, (_, index) => seqs[0] + index), 'each join has a seq of its own');
  assert.ok(answers.every((answer) => answer.gen === gen));
  await allHeardUpTo(clients, seqs.at(-1));
  for (const client of clients) assert.equal(client.roster.members.size, MANY);

  // The second half leaves (by request or by going away), while the first half patches.
  const staying = clients.slice(0, MANY / 2);
  const leaving = clients.slice(MANY / 2);
  await Promise.all([
    ...staying.map((client, index) => client.patch({ patched: index })),
    ...leaving.map((client, index) => (index % 2 ? client.close() : client.leave())),
  ]);
  await allHeardUpTo(staying, seqs.at(-1) + MANY);
  const expected = staying.map(({ connId }, index) => [connId, { index, patched: index }]).sort();
  for (const { roster } of staying) {
    assert.deepEqual([...roster.members].map(([connId, { state }]) => [connId, state]).sort(), expected);
  }
});

test('joins, rejoins and leaves of the same sockets at once, over both transports', async ({ system, room }) => {
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  const clients = [
    ...(await system.connectMany(30)),
    ...(await system.connectMany(10, { transports: TRANSPORTS.polling })),
  ];
  await Promise.all(clients.map(async (client, index) => {
    for (let round = 0; round < 5; round += 1) {
      await client.join(room, `user-${index}`, { round });
      await client.join(room, `user-${index}`, { round, again: true });
      await client.leave();
    }
  }));
  await watcher.sees(['watcher']);
  assert.equal(watcher.count({ type: 'join' }), clients.length * 5);
  assert.equal(watcher.count({ type: 'update' }), clients.length * 5);
  assert.equal(watcher.count({ type: 'leave' }), clients.length * 5);
});

test('what happens while others join reaches them too', async ({ system, room }) => {
  const painter = await system.connect(0);
  await painter.join(room, 'painter');
  let painting = true;
  const painted = (async () => {
    let n = 0;
    for (; painting; n += 1) await painter.patch({ n });
    return n;
  })();
  const members = [];
  for (let index = 0; index < 40; index += 1) {
    const member = await system.connect(index % 2);
    await member.join(room, `user-${index}`);
    members.push(member);
  }
  painting = false;
  const last = (await painted) - 1;
  const allSaw = () => members.every(({ roster }) => roster.members.get(painter.connId).state.n === last);
  await until('every member to see the last stroke', allSaw);
});

for (const [transport, codes] of [['websocket', [undefined]], ['polling', [undefined, 'OVERLOADED']]]) {
  test(`a join over ${transport} is carried out behind 400 events that were written while the client was offline`, async ({ system, room }) => {
    const ann = await system.connect(0, { transports: [transport] });
    const data = [{ key: 'k', value: 1 }];
    const buffered = Array.from({ length: 400 }, () => ann.ask('metadata:setChannel', { channelName: room, channelType: 'T', data }));
    await ann.join(room, 'ann');
    assert.deepEqual(new Set((await Promise.all(buffered)).map(({ code }) => code)), new Set(codes));
  });
}
