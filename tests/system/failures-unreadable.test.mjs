// A room that presence-state cannot read: its members are disconnected after a few tries and learn why when they come back.
import assert from 'node:assert/strict';

import { roomKey } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

// relay/dirty.rs: MOST_REFUSALS
const TRIES = 5;

const ASKED = ['presence.command.duration', { command: 'snapshot' }];

scenario('members of a room whose repair is refused are disconnected, and their next join is answered with the code', { exports: true }, async ({ system, room, otlp }) => {
  const options = { reconnection: true, reconnectionDelay: 50, follow: false };
  const members = await system.connectMany(3, options);
  await Promise.all(members.map((member, n) => member.join(room, `user-${n}`)));
  const other = await system.connect();
  await other.join(`${room}-other`, 'other');
  const kept = `${roomKey(room)}:kept`;
  await system.redis.command('RENAME', roomKey(room), kept);
  await system.redis.command('SET', roomKey(room), 'no hash');
  await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');

  for (const member of members) {
    await until('a member to be disconnected and to come back', () => member.disconnects.length > 0 && member.socket.connected, { within: 10_000 });
    assert.match(member.disconnects[0], /^transport (close|error)$/);
  }
  for (const member of members) {
    const { ok, code } = await member.ask('presence:join', { roomId: room, userId: 'again' });
    assert.deepEqual({ ok, code }, { ok: false, code: 'INTERNAL' });
  }
  await until('the tries to be counted', () => otlp.total(...ASKED) >= TRIES);
  const asked = await otlp.settles(...ASKED);
  // One more for the other room, whose subscription was lost too.
  assert.ok(asked <= TRIES + 2, `the room was read ${asked} times`);
  await holds('no one tries again', () => otlp.total(...ASKED) === asked, { ms: 2500 });
  assert.deepEqual(members.map(({ disconnects }) => disconnects.length), [1, 1, 1], 'disconnected once');

  await other.patch({ n: 1 });
  await other.receives({ type: 'update' });
  assert.equal(other.disconnects.length, 0, 'another room notices nothing');
  await system.redis.command('RENAME', kept, roomKey(room));
  for (const [n, member] of members.entries()) await member.join(room, `user-${n}`);
});
