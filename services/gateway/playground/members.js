// Who is in the room, and what this connection says about itself.
import { ask, self } from './connection.js';
import { byId, count, cut, element, first, name, redraws, short, show } from './dom.js';
import { report } from './feed.js';

const COLORS = ['#c2410c', '#a16207', '#4d7c0f', '#0f766e', '#0369a1', '#4338ca', '#86198f', '#be123c'];
// What is drawn of a large room: users, connections of one user, connections in all, and those that wait.
const MOST_USERS = 100;
const MOST_OF_USER = 20;
const MOST_CONNECTIONS = 200;
const MOST_WAITING = 20;
const TYPING_MS = 1500;

// By connection. A user with two tabs has two.
const members = new Map();

const mine = { status: 'available', color: COLORS[Math.floor(Math.random() * COLORS.length)], typing: false, waitsSince: 0 };

export const myState = () => ({ ...mine });

// Changes the state of this connection. The others are sent an update, and so is this page.
export async function patch(change) {
  Object.assign(mine, change);
  if (!self.connId) return;
  const answer = await ask('presence:heartbeat', { patchState: change });
  if (!answer.ok) report('fault', 'presence:heartbeat', `→ ${answer.code}: ${answer.error}`);
}

const draw = redraws(() => {
  const users = byUser();
  show('count', `${count(users.size, 'user')}, ${count(members.size, 'connection')}`);
  let left = MOST_CONNECTIONS;
  show('members', ...first([...users], MOST_USERS, ([userId, connections]) => {
    const most = Math.min(left, MOST_OF_USER);
    left -= Math.min(most, connections.length);
    return userLine(userId, connections, most);
  }));
  const waiting = [...members.values()].filter(({ state }) => waits(state));
  waiting.sort((one, other) => one.state.waitsSince - other.state.waitsSince);
  show('line', ...first(waiting, MOST_WAITING, ({ userId, connId }) => element('li', {}, name(userId), ` · ${short(connId)}`)));
});

const waits = (state) => typeof state?.waitsSince === 'number' && state.waitsSince > 0;

function byUser() {
  const users = new Map();
  for (const member of members.values()) {
    const connections = users.get(member.userId);
    if (!connections) users.set(member.userId, [member]);
    // This tab comes first among those of its user.
    else if (member.connId === self.connId) connections.unshift(member);
    else connections.push(member);
  }
  return users;
}

function userLine(userId, connections, most) {
  const list = element('ul', {}, ...first(connections, most, connectionLine));
  const tabs = connections.length > 1 ? element('small', { textContent: ` ${connections.length} connections` }) : '';
  return element('li', {}, element('b', {}, name(userId)), tabs, list);
}

// The state is any JSON: another application may be in the room, too.
function connectionLine({ connId, state }) {
  const { color, status, typing, waitsSince: _, ...others } = state ?? {};
  const dot = element('span', { className: 'dot' });
  if (typeof color === 'string' && /^#[0-9a-f]{6}$/i.test(color)) dot.style.backgroundColor = color;
  const words = [short(connId), typeof status === 'string' ? cut(status, 40) : '', connId === self.connId ? 'this tab' : ''];
  const line = element('li', {}, dot, words.filter((word) => word).join(' · '));
  if (typing === true) line.append(element('em', { textContent: ' typing…' }));
  if (waits(state)) line.append(element('small', { textContent: ' waits for the lock' }));
  if (Object.keys(others).length > 0) line.append(' ', element('code', { textContent: cut(JSON.stringify(others), 80) }));
  return line;
}

export function applyEvent({ type, connId, userId, state }) {
  if (type === 'leave') members.delete(connId);
  else members.set(connId, { connId, userId, state });
  draw();
}

// Replaces everyone: the answer to a join, or a presence:sync.
export function replaceAll(snapshot) {
  members.clear();
  for (const member of snapshot) members.set(member.connId, member);
  draw();
}

export function forgetAll(words) {
  members.clear();
  show('members');
  show('line');
  show('count', words);
}

let typingEnds;
byId('typing').addEventListener('input', () => {
  clearTimeout(typingEnds);
  typingEnds = setTimeout(() => patch({ typing: false }), TYPING_MS);
  if (!mine.typing) patch({ typing: true });
});
byId('state-status').addEventListener('change', ({ target }) => patch({ status: target.value }));
byId('color').value = mine.color;
byId('color').addEventListener('change', ({ target }) => patch({ color: target.value }));
