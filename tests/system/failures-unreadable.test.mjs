// A room that presence-state cannot read: its members are disconnected after a few tries and learn why when they come back.
import assert from 'node:assert/strict';

import { roomKey } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

// relay/tries.rs: MOST_REJECTIONS
const TRIES = 5;

// Redis logs every command from now on.
async function logCommands(redis) {
  await redis.command('CONFIG', 'SET', 'slowlog-max-len', '100000');
  await redis.command('CONFIG', 'SET', 'slowlog-log-slower-than', '0');
}

// How often the script of a snapshot was called for a room; the only one with these arguments: the room, and what is known of it.
async function snapshotsOf(redis, room) {
  const isSnapshot = ([command, , , , id, ...known]) => command === 'EVALSHA' && id === room && known.length === 3;
  const entries = await redis.command('SLOWLOG', 'GET', '-1');
  return entries.filter(([, , , words]) => isSnapshot(words)).length;
}

scenario('members of a room whose repair is refused are disconnected, and their next join is answered with the code', {}, async ({ system, room }) => {
  const options = { reconnection: true, reconnectionDelay: 50, follow: false };
  const members = await system.connectMany(3, options);
  await Promise.all(members.map((member, n) => member.join(room, `user-${n}`)));
  const other = await system.connect();
  await other.join(`${room}-other`, 'other');
  const kept = `${roomKey(room)}:kept`;
  await system.redis.command('RENAME', roomKey(room), kept);
  await system.redis.command('SET', roomKey(room), 'no hash');
  await logCommands(system.redis);
  await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');

  for (const member of members) {
    await until('a member to be disconnected and to come back', () => member.disconnects.length > 0 && member.socket.connected, { within: 10_000 });
    assert.match(member.disconnects[0], /^transport (close|error)$/);
  }
  for (const member of members) {
    const { ok, code } = await member.ask('presence:join', { roomId: room, userId: 'again' });
    assert.deepEqual({ ok, code }, { ok: false, code: 'INTERNAL' });
  }
  const tries = () => snapshotsOf(system.redis, room);
  assert.equal(await tries(), TRIES);
  await holds('no one tries again', async () => (await tries()) === TRIES, { ms: 2500 });
  assert.deepEqual(members.map(({ disconnects }) => disconnects.length), [1, 1, 1], 'disconnected once');

  await other.patch({ n: 1 });
  await other.receives({ type: 'update' });
  assert.equal(other.disconnects.length, 0, 'another room notices nothing');
  await system.redis.command('RENAME', kept, roomKey(room));
  for (const [n, member] of members.entries()) await member.join(room, `user-${n}`);
});
