// Clients of the realtime-mesage SDK work unchanged (docs/guides/sdk.md): what that SDK sends, over the transport that it opens, is
// answered with the fields that it reads.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';

import { sharedSystem } from '../harness/scenario.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 2, states: 2 });
const ANSWER_MS = 5000;

// A socket as the SDK opens it: WebSocket alone, and what its `authProvider` returns in the query.
async function connect(system, gateway, t) {
  const socket = io(system.gateways[gateway].url, { transports: ['websocket'], forceNew: true, query: { token: 'anything' } });
  t.after(() => socket.close());
  await withTimeout('the SDK to connect', ANSWER_MS, new Promise((resolve, reject) => {
    socket.once('connect', resolve).once('connect_error', reject).once('error', reject);
  }));
  const presence = [];
  const changes = [];
  socket.on('presence:event', (event) => presence.push(event));
  socket.on('metadata:event', (event) => changes.push(event));
  const ask = (event, payload) => withTimeout(event, ANSWER_MS, new Promise((resolve) => socket.emit(event, payload, resolve)));
  return { ask, presence, changes };
}

test('a channel of the SDK: join, heartbeats with its epoch, a patch, leave', async ({ system, room, t }) => {
  const ann = await connect(system, 0, t);
  const ben = await connect(system, 1, t);
  const joined = await ann.ask('presence:join', { roomId: room, userId: 'ann', state: { mic: true } });
  assert.equal(joined.ok, true);
  const { connId, epoch } = joined.self;
  assert.equal(typeof epoch, 'number');
  assert.deepEqual(joined.snapshot.map((member) => [member.connId, member.userId, member.state]), [[connId, 'ann', { mic: true }]]);
  const other = await ben.ask('presence:join', { roomId: room, userId: 'ben' });
  assert.equal(other.snapshot.length, 2);

  assert.deepEqual(await ann.ask('presence:heartbeat', { epoch, patchState: undefined }), { ok: true, changed: false, epoch });
  assert.deepEqual(await ann.ask('presence:heartbeat', { epoch, patchState: { mic: false } }), { ok: true, changed: true, epoch });
  const update = await until('the update', () => ben.presence.find(({ type }) => type === 'update'));
  assert.deepEqual([update.roomId, update.userId, update.connId, update.state], [room, 'ann', connId, { mic: false }]);
  assert.equal(typeof update.ts, 'number');

  assert.deepEqual(await ann.ask('presence:leave', undefined), { ok: true });
  await until('the leave', () => ben.presence.find((event) => event.type === 'leave' && event.connId === connId));
});

test('metadata of the SDK: set, update, get and remove; the room is sent each change', async ({ system, room, t }) => {
  const ann = await connect(system, 0, t);
  const ben = await connect(system, 1, t);
  await ann.ask('presence:join', { roomId: room, userId: 'ann' });
  await ben.ask('presence:join', { roomId: room, userId: 'ben' });
  const channel = { channelName: room, channelType: 'room', actorUserId: 'mallory' };
  const options = { addTimestamp: true, addUserId: true };

  const set = await ann.ask('metadata:setChannel', { ...channel, data: [{ key: 'topic', value: 'Weekly' }], options });
  assert.equal(set.ok, true);
  assert.equal(set.totalCount, 1);
  const { value, revision, authorUid, updated } = set.metadata.topic;
  assert.deepEqual([value, revision, authorUid], ['Weekly', 1, 'ann'], 'the author is who has joined, whatever the payload says');
  assert.ok(updated);

  const data = [{ key: 'topic', value: 'Daily', revision: 1 }];
  const changed = await ann.ask('metadata:updateChannel', { ...channel, data, options: { majorRevision: set.majorRevision } });
  assert.deepEqual([changed.ok, changed.metadata.topic.value], [true, 'Daily']);
  const conflict = await ann.ask('metadata:updateChannel', { ...channel, data, options: { majorRevision: set.majorRevision } });
  assert.deepEqual([conflict.ok, conflict.code], [false, 'METADATA_CONFLICT']);
  assert.equal((await ben.ask('metadata:getChannel', channel)).majorRevision, changed.majorRevision);
  assert.deepEqual((await ann.ask('metadata:removeChannel', channel)).metadata, {});
  await until('all changes', () => ben.changes.length === 3);
  assert.deepEqual(ben.changes.map(({ operation }) => operation), ['set', 'update', 'remove']);
});

test('what the SDK offers besides: another room on one socket, and events of its own, are refused in words', async ({ system, room, t }) => {
  const ann = await connect(system, 0, t);
  await ann.ask('presence:join', { roomId: room, userId: 'ann' });
  assert.equal((await ann.ask('presence:join', { roomId: `${room}-2`, userId: 'ann' })).code, 'ROOM_CONFLICT');
  assert.equal((await ann.ask('chat:message', { text: 'hello' })).code, 'INVALID_PAYLOAD');
});
