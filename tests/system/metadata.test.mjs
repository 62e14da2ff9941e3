// Channel metadata, end to end: every verb, its conditions and its bounds, with members on two gateways and two state
// instances.
import assert from 'node:assert/strict';

import { TRANSPORTS } from '../harness/client.mjs';
import { sharedSystem } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 2, states: 2 });

const TYPE = 'MESSAGE';

async function annAndBob(system, room, options) {
  const ann = await system.connect(0, options);
  const bob = await system.connect(1, options);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  return { ann, bob };
}

const receivesChange = (client, majorRevision) =>
  until(`${client.connId} to hear of ${majorRevision}`, () => client.changes.find((change) => change.majorRevision === majorRevision));

for (const transport of ['websocket', 'polling']) {
  test(`set, update, remove and get over ${transport}`, async ({ system, room }) => {
    const { ann, bob } = await annAndBob(system, room, { transports: TRANSPORTS[transport] });
    const none = await ann.metadata('getChannel', room, TYPE);
    assert.deepEqual(none, {
      ok: true, timestamp: 0, channelName: room, channelType: TYPE, totalCount: 0, majorRevision: 0, metadata: {},
    });
    await bob.metadata('getChannel', room, TYPE);

    const set = await ann.metadata('setChannel', room, TYPE, [{ key: 'topic', value: 'tea' }, { key: 'page', value: { n: 1 }, revision: 5 }, { key: 'bare' }]);
    assert.deepEqual(set.metadata, {
      topic: { value: 'tea', revision: 1 }, page: { value: { n: 1 }, revision: 5 }, bare: { value: '', revision: 1 },
    });
    assert.equal(set.totalCount, 3);
    assert.ok(Math.abs(set.timestamp - Date.now()) < 5000);
    const received = await receivesChange(bob, set.majorRevision);
    assert.deepEqual(received, {
      channelName: room, channelType: TYPE, operation: 'set', majorRevision: set.majorRevision, timestamp: set.timestamp, authorUid: 'ann',
      items: [{ key: 'topic', value: 'tea', revision: 1 }, { key: 'page', value: { n: 1 }, revision: 5 }, { key: 'bare', value: '', revision: 1 }],
    });
    await receivesChange(ann, set.majorRevision); // the writer receives it like every member

    const options = { addTimestamp: true, addUserId: true, majorRevision: set.majorRevision };
    const updated = await bob.metadata('updateChannel', room, TYPE, [{ key: 'page', value: [], revision: 5 }, { key: 'bare' }], options);
    assert.equal(updated.majorRevision, set.majorRevision + 1);
    assert.deepEqual(updated.metadata.page, {
      value: [], revision: 6, updated: new Date(updated.timestamp).toISOString(), authorUid: 'bob',
    });
    assert.equal(updated.metadata.bare.value, '');
    assert.equal(updated.metadata.bare.revision, 2);
    assert.equal((await receivesChange(ann, updated.majorRevision)).operation, 'update');

    const same = await ann.metadata('removeChannel', room, TYPE, [{ key: 'nothing' }]);
    assert.equal(same.majorRevision, updated.majorRevision, 'nothing removed is nothing changed');
    const removed = await ann.metadata('removeChannel', room, TYPE, [{ key: 'topic' }, { key: 'nothing' }]);
    assert.deepEqual([removed.majorRevision, Object.keys(removed.metadata).sort()], [updated.majorRevision + 1, ['bare', 'page']]);
    assert.deepEqual((await receivesChange(bob, removed.majorRevision)).items, [{ key: 'topic', value: 'tea', revision: 1 }]);

    const emptied = await bob.metadata('removeChannel', room, TYPE);
    assert.deepEqual([emptied.majorRevision, emptied.totalCount], [removed.majorRevision + 1, 0]);
    await receivesChange(ann, emptied.majorRevision);
    assert.deepEqual(await ann.metadata('getChannel', room, TYPE), emptied);
    for (const member of [ann, bob]) {
      assert.deepEqual(member.channels.get(room, TYPE), { majorRevision: emptied.majorRevision, items: {} });
    }
  });
}

test('a socket that has joined no room may write, without an author, and receives nothing', async ({ system, room }) => {
  const { ann } = await annAndBob(system, room);
  const stranger = await system.connect(1);
  const set = await stranger.metadata('setChannel', room, TYPE, [{ key: 'k', value: 1 }], { addUserId: true });
  assert.deepEqual(set.metadata, { k: { value: 1, revision: 1 } });
  const received = await receivesChange(ann, set.majorRevision);
  assert.ok(!('authorUid' in received));
  assert.deepEqual(stranger.changes, []);
});

test('channels of other types, names and rooms have nothing in common', async ({ system, room }) => {
  const names = [room, `${room}}`, `${room}%7D`, '{a}:meta:T', 'meta', '日本', '../x', 'x'.repeat(256)];
  const types = ['T', 'T:info', 'users', 'revisions', '}'];
  const { ann } = await annAndBob(system, room);
  const channels = names.flatMap((name) => types.map((type) => [name, type]));
  await Promise.all(channels.map(([name, type], n) => ann.metadata('setChannel', name, type, [{ key: 'n', value: n }, { key: '__proto__', value: name }])));
  for (const [n, [name, type]] of channels.entries()) {
    const { metadata, totalCount, channelName, channelType } = await ann.metadata('getChannel', name, type);
    assert.deepEqual([metadata.n.value, totalCount, channelName, channelType], [n, 2, name, type]);
  }
  await until('ann to hear of those of her room', () => ann.changes.length === types.length);
  assert.deepEqual([...new Set(ann.changes.map(({ channelName }) => channelName))], [room]);
  await ann.patch({ still: 'here' });
});

test('values survive byte for byte', async ({ system, room }) => {
  const values = ['[]', '{}', 'null', '9007199254740993', '1e400', '{"z":1,"a":[{}]}', '"日本 🦀"', '{"__proto__":{"admin":true}}', '-0.10e+2', '[1,\\n2]'.replaceAll('\\n', '\n')];
  const options = { raw: true };
  const { ann, bob } = await annAndBob(system, room, options);
  const data = values.map((value, n) => `{"key":"k${n}","value":${value}}`).join(',');
  const answer = await ann.askRaw('metadata:setChannel', `{"channelName":"${room}","channelType":"T","data":[${data}]}`);
  const packet = await until('the event', () => bob.raw.find((text) => text.includes('metadata:event')));
  for (const [n, value] of values.entries()) {
    assert.ok(answer.includes(`"k${n}":{"value":${value},"revision":1}`), `${value} in ${answer}`);
    assert.ok(packet.includes(`{"key":"k${n}","value":${value},"revision":1}`), `${value} in ${packet}`);
  }
});

test('a revision that is not the current one is a conflict, and changes nothing', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const { majorRevision } = await ann.metadata('setChannel', room, TYPE, [{ key: 'k', value: 1 }], { majorRevision: 0 });
  const refused = async (verb, data, options, word) => {
    const answer = await bob.ask(`metadata:${verb}`, { channelName: room, channelType: TYPE, data, options });
    assert.deepEqual([answer.ok, answer.code], [false, 'METADATA_CONFLICT'], JSON.stringify(answer));
    assert.ok(answer.error.includes(word), answer.error);
  };
  await refused('setChannel', [{ key: 'k', value: 2 }], { majorRevision: 0 }, 'majorRevision');
  await refused('updateChannel', [{ key: 'k', value: 2 }], { majorRevision: majorRevision - 1 }, 'majorRevision');
  await refused('updateChannel', [{ key: 'k', value: 2, revision: 2 }], {}, 'k');
  await refused('removeChannel', undefined, { majorRevision: majorRevision + 1 }, 'majorRevision');
  await refused('removeChannel', [{ key: 'k', revision: 0 }], {}, 'k');
  assert.deepEqual((await bob.metadata('getChannel', room, TYPE)).metadata, { k: { value: 1, revision: 1 } });
  const forced = await bob.metadata('updateChannel', room, TYPE, [{ key: 'k', value: 3, revision: -1 }], { majorRevision: -1 });
  assert.equal(forced.majorRevision, majorRevision + 1);
});

test('a revision that grew above every given one is accepted from the client that was sent it', async ({ system, room }) => {
  const { ann, bob } = await annAndBob(system, room);
  const given = 2 ** 52;
  await ann.metadata('setChannel', room, TYPE, [{ key: 'k', value: 0, revision: given }]);
  let { metadata } = await ann.metadata('updateChannel', room, TYPE, [{ key: 'k', value: 1 }]);
  assert.deepEqual(metadata, { k: { value: 1, revision: given + 1 } });
  ({ metadata } = await bob.metadata('updateChannel', room, TYPE, [{ key: 'k', value: 2, revision: metadata.k.revision }]));
  assert.deepEqual(metadata, { k: { value: 2, revision: given + 2 } });
  const data = `[{"key":"k","revision":${given + 2}.0}]`;
  const removed = JSON.parse(await bob.askRaw('metadata:removeChannel', `{"channelName":"${room}","channelType":"${TYPE}","data":${data}}`));
  assert.deepEqual([removed.ok, removed.metadata], [true, {}]);
});

test('invalid input is answered with its code and field, and changes nothing', async ({ system, room }) => {
  const { ann } = await annAndBob(system, room);
  const before = await ann.metadata('setChannel', room, TYPE, [{ key: 'k', value: 1 }]);
  const cases = [
    ['setChannel', { data: [{ key: 'a' }, { key: 'a' }] }, 'INVALID_PAYLOAD', 'data[1].key'],
    ['setChannel', { data: [{ key: '' }] }, 'INVALID_PAYLOAD', 'data[0].key'],
    ['setChannel', { data: [{ key: 'x'.repeat(257) }] }, 'INVALID_PAYLOAD', 'data[0].key'],
    ['setChannel', { data: Array.from({ length: 257 }, (_, n) => ({ key: `k${n}` })) }, 'TOO_LARGE', '256'],
    ['setChannel', { data: [{ key: 'k', value: 'x'.repeat(17 * 1024) }] }, 'TOO_LARGE', 'data[0].value'],
    ['setChannel', { data: [{ key: 'k', revision: '1' }] }, 'INVALID_PAYLOAD', 'data[0].revision'],
    ['setChannel', { data: 'k' }, 'INVALID_PAYLOAD', 'data'],
    ['setChannel', { options: { majorRevision: '1' } }, 'INVALID_PAYLOAD', 'options.majorRevision'],
    ['setChannel', { data: [{ key: 'k', value: 2 }], options: { lockName: 'l' } }, 'METADATA_LOCK', 'lockName'],
    ['setChannel', { channelName: 7 }, 'INVALID_PAYLOAD', 'channelName'],
    ['setChannel', { channelType: '' }, 'INVALID_PAYLOAD', 'channelType'],
    ['updateChannel', {}, 'INVALID_PAYLOAD', 'data'],
    ['updateChannel', { data: [] }, 'METADATA_INVALID', 'data'],
    ['updateChannel', { data: [{ key: 'k', value: 2 }, { key: 'unknown', value: 2 }] }, 'METADATA_INVALID', 'unknown'],
    ['updateChannel', { channelName: `${room}-none`, data: [{ key: 'k' }] }, 'METADATA_INVALID', 'no such channel'],
    ['removeChannel', { data: [7] }, 'INVALID_PAYLOAD', 'data[0]'],
    ['getChannel', { channelType: undefined }, 'INVALID_PAYLOAD', 'channelType'],
  ];
  for (const [verb, fields, code, word] of cases) {
    const answer = await ann.ask(`metadata:${verb}`, { channelName: room, channelType: TYPE, ...fields });
    assert.deepEqual([answer.ok, answer.code], [false, code], `${verb} ${JSON.stringify(fields).slice(0, 80)}: ${JSON.stringify(answer)}`);
    assert.ok(answer.error.includes(word), answer.error);
  }
  assert.deepEqual(await ann.metadata('getChannel', room, TYPE), before);
});

test('a channel at its limit can be read, updated and shrunk', async ({ system, room }) => {
  const { ann } = await annAndBob(system, room);
  const keys = Array.from({ length: 20 }, (_, n) => `key-${n}`);
  await ann.metadata('setChannel', room, TYPE, keys.map((key) => ({ key, value: '' })));
  let full = 0;
  for (const key of keys) {
    const data = [{ key, value: 'x'.repeat(16 * 1024 - 2) }];
    const answer = await ann.ask('metadata:updateChannel', { channelName: room, channelType: TYPE, data });
    if (answer.ok) full += 1;
    else assert.deepEqual([answer.code, answer.error.includes('262144')], ['TOO_LARGE', true], answer.error);
  }
  assert.equal(full, 15, 'fifteen values of 16 KiB and the rest fit 256 KiB');
  await ann.metadata('getChannel', room, TYPE);
  await ann.metadata('updateChannel', room, TYPE, [{ key: 'key-0', value: 'y'.repeat(16 * 1024 - 2) }]);
  await ann.metadata('updateChannel', room, TYPE, [{ key: 'key-0', value: 'small' }]);
  await ann.metadata('updateChannel', room, TYPE, [{ key: 'key-19', value: 'z'.repeat(16 * 1024 - 2) }]);
  const { totalCount } = await ann.metadata('removeChannel', room, TYPE, [{ key: 'key-1' }]);
  assert.equal(totalCount, 19);
});

test('200 compare-and-set writers from 20 sockets win each revision once', async ({ system, room }) => {
  const sockets = await system.connectMany(20);
  await Promise.all(sockets.map((socket, n) => socket.join(room, `user-${n}`)));
  const first = await sockets[0].metadata('setChannel', room, TYPE, [{ key: 'n', value: 0 }]);
  const won = [];
  const increment = async (socket) => {
    for (;;) {
      const { majorRevision, metadata } = await socket.metadata('getChannel', room, TYPE);
      const data = [{ key: 'n', value: metadata.n.value + 1 }];
      const answer = await socket.ask('metadata:updateChannel', { channelName: room, channelType: TYPE, data, options: { majorRevision } });
      if (answer.ok) return won.push(answer.majorRevision);
      assert.equal(answer.code, 'METADATA_CONFLICT');
    }
  };
  await Promise.all(sockets.map(async (socket) => {
    await Promise.all(Array.from({ length: 10 }, () => increment(socket)));
  }));
  won.sort((a, b) => a - b);
  assert.deepEqual(won, Array.from({ length: 200 }, (_, n) => first.majorRevision + 1 + n));
  const last = await sockets[7].metadata('getChannel', room, TYPE);
  assert.deepEqual(last.metadata.n, { value: 200, revision: 201 });
  const all = () => sockets.every((socket) => socket.channels.get(room, TYPE).majorRevision === last.majorRevision);
  await until('every member to have received everything', all);
  for (const socket of sockets) assert.deepEqual(socket.channels.get(room, TYPE).items, { n: { value: 200, revision: 201 } });
});
