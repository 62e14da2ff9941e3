// A backend next to Rollcall: POST /token answers a token for the user who is logged in, GET /members who is in the lobby.
// Usage: JWT_SECRET_FILE=../../.dev/auth/secret node backend.mjs
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { io } from 'socket.io-client';

const { JWT_SECRET_FILE: file } = process.env;
if (!file) throw new Error('JWT_SECRET_FILE has to name the file with the secret of the gateway');
const secret = readFileSync(file, 'utf8').trim();
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// Any JWT library does the same.
function makeToken(claims) {
  const now = Math.floor(Date.now() / 1000);
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ iat: now, exp: now + 300, ...claims })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

const tokenFor = ({ id, name }) => makeToken({
  sub: id,
  info: { name },
  rooms: [{ room: 'lobby', allow: ['join', 'metadata:read', 'lock'] }],
});

// The backend is a member itself. Its info says so, which no client can claim: only a token sets it.
const backendToken = () => makeToken({
  sub: 'backend',
  info: { service: true },
  rooms: [{ room: 'lobby', allow: ['join'] }],
});
const socket = io(process.env.ROLLCALL_URL ?? 'http://127.0.0.1:3000', {
  auth: (give) => give({ token: backendToken() }), // a fresh one for every connection
});
const members = new Map();
let isCurrent = false;

function replaceAll({ snapshot }) {
  members.clear();
  for (const member of snapshot) members.set(member.connId, member);
  isCurrent = true;
}

function join() {
  socket.emit('presence:join', { roomId: 'lobby' }, (answer) => {
    if (answer.ok) return replaceAll(answer);
    console.error(`${answer.code}: ${answer.error}`);
    setTimeout(join, 1000);
  });
}
socket.on('connect', join);
socket.on('presence:sync', replaceAll);
socket.on('presence:event', (event) => {
  if (event.type === 'leave') members.delete(event.connId);
  else members.set(event.connId, event);
});
socket.on('disconnect', () => { isCurrent = false; });
socket.on('connect_error', (error) => console.error(error.message));
socket.on('auth:expiring', () => socket.emit('auth:refresh', { token: backendToken() }));

function users() {
  const people = [...members.values()].filter(({ info }) => !info?.service);
  return [...new Map(people.map(({ userId, info }) => [userId, { userId, name: info?.name }])).values()];
}

// Replace this by your own sessions: this one believes what the browser says.
const loggedIn = (request) => ({ id: request.headers['x-demo-user'], name: request.headers['x-demo-user'] });

const server = createServer((request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.method === 'POST' && request.url === '/token') {
    const user = loggedIn(request);
    return user.id ? answer(200, { token: tokenFor(user) }) : answer(401, { error: 'log in first' });
  }
  if (request.method === 'GET' && request.url === '/members') {
    return isCurrent ? answer(200, users()) : answer(503, { error: 'not connected to Rollcall; try again' });
  }
  return answer(404, { error: 'POST /token or GET /members' });
});
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
