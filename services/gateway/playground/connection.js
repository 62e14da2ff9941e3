// The page's connection: the official client, whose questions are promises here.
import { byId, settings } from './dom.js';
import { report } from './feed.js';
import { traceOfAnswer } from './traces.js';

// A lock may be waited for ten seconds.
const ANSWER_MS = 15_000;

export const token = () => byId('token').value.trim();

// Called again for every connection, so that a token that was replaced is used.
const auth = (give) => give(settings.auth === 'jwt' ? { token: token() } : {});

export const socket = window.io({ path: `${settings.path}/`, autoConnect: false, auth });

// The connection in the room, from the answer to its join.
export const self = { room: undefined, connId: undefined };

// Sends an event, and resolves with its answer, in which `ok` says whether it was carried out.
export function ask(event, payload) {
  if (!socket.connected) return Promise.resolve({ ok: false, code: 'OFFLINE', error: 'this page is not connected' });
  return new Promise((resolve) => {
    socket.timeout(ANSWER_MS).emit(event, payload, (lost, answer) => {
      resolve(lost ? { ok: false, code: 'LOST', error: `no answer: ${lost.message}` } : answer);
    });
  });
}

// The same, with a line about the answer. `words` says what a good one has.
export async function askAndReport(event, payload, words = () => ['', '']) {
  const sentMs = Date.now();
  const answer = await ask(event, payload);
  const trace = traceOfAnswer(answer.self?.connId ?? self.connId, sentMs);
  if (answer.ok) {
    const [text, at] = words(answer);
    report('answer', event, `→ ok ${text}`, { at, trace });
  } else {
    report('fault', event, `→ ${answer.code}: ${answer.error}`, { trace });
  }
  return answer;
}

// Breaks the connection as a network does: the page is not asked, and the client comes back by itself.
export function breakConnection() {
  socket.io.engine.close();
}
