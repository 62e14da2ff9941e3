// What happened, the newest first.
import { byId, count, cut, element, name, short } from './dom.js';
import { traceOfMessage } from './traces.js';

const MOST = 200;

byId('clear').addEventListener('click', () => byId('feed').replaceChildren());

// Adds a line. `kind`: what the words are about, as a class. `words`: a text, or texts and elements. `at`: the position and other
// numbers.
export function report(kind, title, words, { at = '', trace } = {}) {
  const time = new Date();
  const clock = element('time', { dateTime: time.toISOString(), textContent: time.toTimeString().slice(0, 8) });
  const line = element('li', { className: kind }, clock, ' ', element('b', { textContent: title }), ' ');
  line.append(...[words].flat().map((part) => (typeof part === 'string' ? cut(part, 300) : part)), ' ');
  if (at) line.append(element('small', { textContent: at }), ' ');
  if (trace) line.append(trace);
  const feed = byId('feed');
  feed.prepend(line);
  while (feed.childElementCount > MOST) feed.lastElementChild.remove();
}

const resync = (message) => (message.resync ? ' · resync' : '');
const position = (message) => `seq ${message.seq} · gen ${message.gen}${resync(message)}`;

const WORDS = {
  'presence:event': (event) => {
    const first = event.userJoined ? ', the first connection of the user' : '';
    const last = event.userLeft ? ', the last connection of the user' : '';
    const how = event.type === 'update' ? `: ${JSON.stringify(event.state)}` : event.reason ? ` (${event.reason})` : '';
    return [event.type, [name(event.userId), ` · ${short(event.connId)}${first}${last}`, how], position(event)];
  },
  'presence:sync': (sync) => ['presence:sync', `the room as it is: ${count(sync.snapshot.length, 'connection')}`, position(sync)],
  'metadata:event': (change) => {
    const items = change.items.map(({ key, value }) => `${key} = ${JSON.stringify(value)}`).join(', ');
    const by = change.authorUid === undefined ? [] : [' by ', name(change.authorUid)];
    const at = `majorRevision ${change.majorRevision}${resync(change)}`;
    return [`metadata ${change.operation}`, [`${change.channelType}: ${items}`, ...by], at];
  },
  'lock:event': (event) => [`lock ${event.type}`, [`${event.lockName}: `, name(event.owner)], `fence ${event.fence}${resync(event)}`],
  'auth:expiring': ({ expiresAt }) => ['auth:expiring', `the token ends at ${new Date(expiresAt).toTimeString().slice(0, 8)}`, ''],
};

// Adds what the gateway sent without being asked.
export function reportMessage(name, message) {
  const [title, words, at] = WORDS[name](message);
  report(name.split(':')[0], title, words, { at, trace: traceOfMessage(name, message) });
}

export const MESSAGES = Object.keys(WORDS);
