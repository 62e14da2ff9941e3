// Waits for its turn, thinks, and makes its move, which no one can make out of turn.
// Usage: node turn.mjs [USER] [MOVE] [MILLISECONDS TO THINK]
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';

const [userId = 'ann', move = 'e2e4', thinkMs = '1000'] = process.argv.slice(2);
const url = process.env.ROLLCALL_URL ?? 'http://127.0.0.1:3000';
const token = process.env.ROLLCALL_TOKEN; // needed if the gateway has AUTH=jwt
const TTL_MS = 3000;

const socket = io(url, { auth: { token } });
const channel = { channelName: 'chess', channelType: 'game' };
const lockName = 'turn';

async function takeTurn(think) {
  const turn = await socket.emitWithAck('lock:acquire', { ...channel, lockName, ttlMs: TTL_MS, waitMs: 10_000 });
  if (!turn.ok) return `${turn.code}: ${turn.error}`; // LOCK_HELD: the turn of turn.owner took too long
  const { fence } = turn;
  console.log(`${userId} has the turn, fence ${fence}`);
  const renewal = setInterval(() => {
    socket.emit('lock:renew', { ...channel, lockName, fence, ttlMs: TTL_MS });
  }, TTL_MS / 3);
  try {
    const data = [{ key: 'move', value: { userId, move: await think() } }];
    const written = await socket.emitWithAck('metadata:setChannel', { ...channel, data, options: { lockName, fence } });
    if (written.ok) return `${userId} played ${move}`;
    return `${written.code}: ${written.error}`; // METADATA_LOCK: it was too late
  } finally {
    clearInterval(renewal);
    await socket.emitWithAck('lock:release', { ...channel, lockName, fence });
  }
}

socket.on('connect_error', (error) => console.error(error.message));
// Only a member of a room can hold a lock. It ends when the member leaves or its connection closes.
const joined = await socket.emitWithAck('presence:join', { roomId: channel.channelName, userId });
if (!joined.ok) throw new Error(`${joined.code}: ${joined.error}`);
console.log(await takeTurn(async () => {
  await sleep(Number(thinkMs));
  return move;
}));
socket.close();
