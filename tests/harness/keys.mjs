// The names of keys in Redis, as shared/keyspace has them.
const PARTITIONS = 1024;

// FNV-1a, mixed: shared/protocol/src/ids.rs, RoomId::partition.
function partition(room) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(room)) hash = Math.imul(hash ^ byte, 0x01000193);
  const mixed = Math.imul((hash ^ (hash >>> 16)) >>> 0, 0x85ebca6b) >>> 0;
  return ((mixed ^ (mixed >>> 13)) >>> 0) % PARTITIONS;
}

const base = (room) => `prs:{p${partition(room)}}`;

export const roomKey = (room) => `${base(room)}:room:${room}`;
export const membersKey = (room) => `${base(room)}:members:${room}`;
export const locksKey = (room) => `${base(room)}:locks:${room}`;
export const waitersKey = (room) => `${base(room)}:waiters:${room}`;
export const revisionsKey = (room) => `${base(room)}:revisions:${room}`;

// Everything but the directory.
export const ROOM_KEYS = 'prs:{p*';

// The fields of a member's record: epoch, operation, gateway, user, info if there is one, state.
export async function storedMembers(redis, room) {
  const flat = (await redis.command('HGETALL', membersKey(room))) ?? [];
  const members = new Map();
  for (let at = 0; at < flat.length; at += 2) {
    const [epoch, op, gateway, userId, info, ...state] = flat[at + 1].split('\n');
    const content = { ...(info && { info: JSON.parse(info) }), state: JSON.parse(state.join('\n')) };
    members.set(flat[at], { epoch: Number(epoch), op: Number(op), gateway, userId, ...content });
  }
  return members;
}
