// The page as a whole: joins a room, joins it again whenever the connection came back, and passes on what is received.
import { ask, askAndReport, breakConnection, self, socket, token } from './connection.js';
import * as counter from './counter.js';
import { byId, count, name, settings, show } from './dom.js';
import { MESSAGES, report, reportMessage } from './feed.js';
import * as lock from './lock.js';
import * as members from './members.js';

const NAMES = ['ada', 'ben', 'chi', 'dora', 'eli', 'fay', 'gus', 'hana', 'ivo', 'jun'];
const TRY_AGAIN_MS = 2000;
// It may go well the next time.
const PASSING = ['UNAVAILABLE', 'TIMEOUT', 'OVERLOADED', 'RATE_LIMITED', 'INTERNAL', 'LOST'];

const hasTokens = settings.auth === 'jwt';
let wanted; // the room and user to join on every connect
let lostAt; // when the connection was lost

const tab = (values) => `#${new URLSearchParams(values)}`;

const status = (...parts) => show('status', ...parts);
const problem = (text = '') => show('problem', text);

function showRole(isWanted) {
  byId('join-fields').disabled = isWanted;
  byId('join-button').disabled = isWanted;
  byId('leave').disabled = !isWanted;
  byId('state').disabled = !isWanted;
  byId('tabs').hidden = !isWanted;
}

const who = () => (wanted.userId === undefined ? 'the user of the token' : name(wanted.userId));
const where = () => ['in ', name(self.room), ' as ', who(), `, connection ${self.connId}`];

let again; // the timer of the next try

async function join() {
  clearTimeout(again);
  if (!wanted) return;
  const asked = wanted;
  const answer = await askAndReport('presence:join', { ...wanted, state: members.myState() }, ({ snapshot, seq, gen }) =>
    [count(snapshot.length, 'connection'), `seq ${seq} · gen ${gen}`]);
  if (asked !== wanted || !socket.connected) return;
  if (answer.ok) {
    Object.assign(self, { room: asked.roomId, connId: answer.self.connId });
    members.replaceAll(answer.snapshot);
    problem();
    showTransport();
    await Promise.all([counter.open(), lock.open()]);
  } else if (PASSING.includes(answer.code)) {
    again = setTimeout(join, answer.retryAfterMs ?? TRY_AGAIN_MS);
  } else {
    leaveRoom('Join a room to see who is in it.');
    problem(`${answer.code}: ${answer.error}`);
  }
}

// What the page forgets when it is in no room, and until it is back in one.
function stepOut(words) {
  Object.assign(self, { room: undefined, connId: undefined });
  counter.close();
  lock.close();
  members.forgetAll(words);
}

function leaveRoom(words) {
  wanted = undefined;
  stepOut(words);
  showRole(false);
  showTransport();
}

function showTransport() {
  if (!socket.connected) return;
  if (self.connId) status(`connected by ${socket.io.engine.transport.name}, `, ...where());
  else status('connected, in no room');
  byId('cut').disabled = false;
  byId('refresh').disabled = false;
}

socket.on('connect', () => {
  const after = lostAt && `, ${((Date.now() - lostAt) / 1000).toFixed(1)} s after it was lost; to the room it is a new connection`;
  report('connection', 'connected', `by ${socket.io.engine.transport.name}${after ?? ''}`);
  lostAt = undefined;
  problem();
  showTransport();
  socket.io.engine.on('upgrade', () => {
    report('connection', 'upgraded', `to ${socket.io.engine.transport.name}`);
    showTransport();
  });
  join();
});

socket.on('disconnect', (reason) => {
  lostAt = Date.now();
  report('connection', 'disconnected', `${reason}: the others see that this connection left, and its locks ended`);
  stepOut('Not connected.');
  byId('cut').disabled = true;
  byId('refresh').disabled = true;
  status(socket.active ? 'not connected: the client tries to come back' : 'not connected');
  if (!socket.active) leaveRoom('Not connected.');
});

socket.on('connect_error', ({ message }) => {
  report('fault', 'connect_error', message);
  problem(message);
  // Refused, not unreachable: the client does not try again by itself.
  if (!socket.active) {
    leaveRoom('Not connected.');
    status('not connected');
  }
});

const APPLY = {
  'presence:event': members.applyEvent,
  'presence:sync': ({ snapshot }) => members.replaceAll(snapshot),
  'metadata:event': counter.applyChange,
  'lock:event': lock.applyLockEvent,
  'auth:expiring': () => problem('The token ends soon: paste a new one and use it from now on.'),
};

for (const name of MESSAGES) {
  socket.on(name, (message) => {
    reportMessage(name, message);
    APPLY[name](message);
  });
}

byId('join-form').addEventListener('submit', (submit) => {
  submit.preventDefault();
  const [roomId, userId] = [byId('room').value, byId('user').value];
  wanted = hasTokens ? { roomId } : { roomId, userId };
  sessionStorage.setItem('user', userId);
  history.replaceState(null, '', tab({ room: roomId }));
  byId('as-other').href = tab({ room: roomId });
  byId('as-same').href = tab({ room: roomId, user: userId });
  problem();
  showRole(true);
  byId('typing').focus();
  status('connecting…');
  if (socket.connected) join();
  else socket.connect();
});

byId('leave').addEventListener('click', async () => {
  if (self.connId) await askAndReport('presence:leave', {});
  leaveRoom('You left.');
  byId('room').focus();
});

byId('cut').addEventListener('click', breakConnection);

byId('refresh').addEventListener('click', async () => {
  const answer = await askAndReport('auth:refresh', { token: token() });
  problem(answer.ok ? '' : `${answer.code}: ${answer.error}`);
  if (answer.left !== undefined) leaveRoom('The token does not allow this room any more.');
});

// Where heartbeats are asked for, a connection without one is evicted, and the next one brings it back.
if (Number(settings.beatMs) > 0) {
  setInterval(async () => {
    if (!self.connId) return;
    const { rejoined } = await ask('presence:heartbeat', {});
    if (rejoined) report('connection', 'rejoined', 'the gateway had this connection evicted, and took it back');
  }, Number(settings.beatMs));
}

function fillIn() {
  const given = new URLSearchParams(location.hash.slice(1));
  byId('room').value = given.get('room') || 'lobby';
  byId('user').value = given.get('user') || sessionStorage.getItem('user') || NAMES[Math.floor(Math.random() * NAMES.length)];
}

byId('user').required = !hasTokens;
byId('user-label').hidden = hasTokens;
byId('token-label').hidden = !hasTokens;
byId('token').required = hasTokens;
byId('refresh').hidden = !hasTokens;
window.addEventListener('hashchange', () => { if (!wanted) fillIn(); });
fillIn();
byId(hasTokens ? 'token' : 'user').focus();
