// Joins a room and prints who is in it whenever that changes. Each line that you enter shows the others that you are typing.
// Usage: node who.mjs [USER] [ROOM]
import { io } from 'socket.io-client';

const [userId = 'ann', roomId = 'lobby'] = process.argv.slice(2);
const url = process.env.ROLLCALL_URL ?? 'http://127.0.0.1:3000';
const token = process.env.ROLLCALL_TOKEN; // needed if the gateway has AUTH=jwt
const RETRY = new Set(['UNAVAILABLE', 'TIMEOUT', 'OVERLOADED', 'RATE_LIMITED']);

const socket = io(url, { auth: { token } });
const members = new Map(); // by connId: a user with two connections is there twice
const state = { typing: false };

function show() {
  const names = [...members.values()].map((member) => member.userId + (member.state.typing ? ' (typing)' : ''));
  console.log(`in ${roomId}: ${names.sort().join(', ')}`);
}

function replaceAll(snapshot) {
  members.clear();
  for (const member of snapshot) members.set(member.connId, member);
  show();
}

function join() {
  socket.emit('presence:join', { roomId, userId, state }, (answer) => {
    if (answer.ok) return replaceAll(answer.snapshot);
    console.error(`${answer.code}: ${answer.error}`);
    if (RETRY.has(answer.code)) setTimeout(join, 1000);
  });
}

socket.on('presence:event', (event) => {
  if (event.type === 'leave') members.delete(event.connId);
  else members.set(event.connId, event);
  show();
});
socket.on('presence:sync', ({ snapshot }) => replaceAll(snapshot));
socket.on('connect', join); // also after every reconnect: a membership belongs to one connection
socket.on('connect_error', (error) => console.error(error.message));

let pause;
function setTyping(typing) {
  if (state.typing === typing) return;
  state.typing = typing;
  if (socket.connected) socket.emit('presence:heartbeat', { patchState: { typing } });
}
process.stdin.on('data', () => {
  setTyping(true);
  clearTimeout(pause);
  pause = setTimeout(setTyping, 2000, false);
});
