// What attackers speak: TCP, HTTP and WebSocket frames by hand, and as much Socket.IO as they need. Everything is counted. No
// connection keeps a process alive or throws: that it was closed is seen, and counted.
import { once } from 'node:events';
import { connect } from 'node:net';

// Not the honest users' address: what is limited by address must not be limited for them.
const ADDRESS = '127.0.0.2';
const ANSWER_MS = 5000;
const HANDSHAKE = '/socket.io/?EIO=4&transport=';

export class Tally {
  requests = 0;
  sentBytes = 0;
  receivedBytes = 0;
  opened = 0;
  closed = 0;
  refused = {}; // a code or an HTTP status → how often
  broken = []; // promises that this attack broke, in words

  refuse(code) {
    this.refused[code] = (this.refused[code] ?? 0) + 1;
  }
}

export class Line {
  #tally;

  // `reads: false` never takes anything from the connection.
  constructor({ host, port }, tally, { reads = true, onData = () => {} } = {}) {
    this.#tally = tally;
    this.socket = connect({ host, port, localAddress: ADDRESS, noDelay: true });
    this.socket.on('connect', () => (tally.opened += 1));
    this.socket.on('error', () => {}); // `close` follows
    this.closed = new Promise((resolve) => this.socket.on('close', resolve)).then(() => (tally.closed += 1));
    if (!reads) return;
    this.socket.on('data', (chunk) => {
      tally.receivedBytes += chunk.length;
      onData(chunk);
    });
  }

  get isOpen() {
    return !this.socket.destroyed;
  }

  // Resolves when the kernel has taken it, or the connection is closed. `requests`: how many it holds.
  async write(data, requests = 1) {
    if (!this.isOpen) return;
    this.#tally.requests += requests;
    this.#tally.sentBytes += data.length;
    if (!this.socket.write(data)) await Promise.race([once(this.socket, 'drain').catch(() => {}), this.closed]);
  }

  close() {
    this.socket.destroy();
  }
}

// Counts the answers of pipelined requests that were refused.
export function countStatuses(tally) {
  return (chunk) => {
    for (const [, status] of chunk.toString('latin1').matchAll(/HTTP\/1\.1 (\d{3})/g)) if (status >= 300) tally.refuse(status);
  };
}

export const get = (path, headers = '') => `GET ${path} HTTP/1.1\r\nHost: rollcall\r\n${headers}\r\n`;

export const post = (path, body, headers = '') =>
  `POST ${path} HTTP/1.1\r\nHost: rollcall\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;

export const pollingHandshake = (headers) => get(`${HANDSHAKE}polling`, headers);

// One request on a connection of its own, answered in full: {status, body}. Without an answer the status is 0.
export async function request(gateway, tally, text) {
  let answer = '';
  let done;
  const whole = new Promise((resolve) => (done = resolve));
  const line = new Line(gateway, tally, {
    onData: (chunk) => {
      answer += chunk.toString('utf8');
      const [head, body] = answer.split('\r\n\r\n');
      const length = head.match(/content-length: (\d+)/i)?.[1];
      if (body !== undefined && length !== undefined && Buffer.byteLength(body) >= Number(length)) done();
    },
  });
  line.write(text);
  const timer = setTimeout(done, ANSWER_MS);
  await Promise.race([whole, line.closed]);
  clearTimeout(timer);
  line.close();
  const status = Number(answer.match(/^HTTP\/1\.1 (\d{3})/)?.[1] ?? 0);
  if (status >= 300) tally.refuse(status);
  return { status, body: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
}

// The Engine.IO id of a new long-polling session, or undefined if there is none.
export async function openPolling(gateway, tally) {
  const { body } = await request(gateway, tally, pollingHandshake());
  return body.match(/"sid":"([^"]+)"/)?.[1];
}

// A client's frame, masked with zeros. `claimed` is a length that is not the payload's.
export function frame(payload, { opcode = 1, fin = true, claimed } = {}) {
  const data = Buffer.from(payload);
  const length = claimed ?? data.length;
  const head = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
  head[0] = (fin ? 0x80 : 0) | opcode;
  if (length < 126) head[1] = 0x80 | length;
  else if (length < 65_536) {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(length, 2);
  } else {
    head[1] = 0x80 | 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  return Buffer.concat([head, data]);
}

// Reads a server's text frames; other frames are passed over.
function frameReader(onText) {
  let unread = Buffer.alloc(0);
  return (chunk) => {
    unread = unread.length ? Buffer.concat([unread, chunk]) : chunk;
    while (unread.length >= 2) {
      const short = unread[1] & 0x7f;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (unread.length < start) return;
      const length = short < 126 ? short : short === 126 ? unread.readUInt16BE(2) : Number(unread.readBigUInt64BE(2));
      if (unread.length < start + length) return;
      if ((unread[0] & 0x0f) === 1) onText(unread.toString('utf8', start, start + length));
      unread = unread.subarray(start + length);
    }
  };
}

// The code in a packet that refuses to let a client in: 44{"message":"A_CODE: a sentence"}
export const refusalOf = (packet) => packet.match(/"([A-Z_]+): /)?.[1] ?? 'CONNECT_ERROR';

const event = (ack, name, payload) => `42${ack}${JSON.stringify(payload === undefined ? [name] : [name, payload])}`;

// A WebSocket session. `namespace: false` never enters one. Once that is done, `deaf` stops to read, and `careless` reads and looks at
// nothing.
export class Session {
  connId;
  #tally;
  #acks = 0;
  #waiting = new Map();
  #onPacket = () => {};

  // Undefined if it was refused.
  static async open(gateway, tally, { namespace = true, deaf = false, careless = false, auth, ...handshake } = {}) {
    const session = new Session(gateway, tally, handshake);
    if (!(await session.#upgraded)) return undefined;
    if (namespace && !(await session.#enter(auth))) return undefined;
    if (deaf) session.line.socket.pause();
    if (careless) session.line.socket.removeAllListeners('data').resume();
    return session;
  }

  // `count` sessions, so many of them as are let in.
  static async openMany(gateway, tally, count, options, together = 64) {
    const sessions = [];
    for (let begun = 0; begun < count; begun += together) {
      const some = Array.from({ length: Math.min(together, count - begun) }, () => Session.open(gateway, tally, options));
      sessions.push(...(await Promise.all(some)).filter(Boolean));
    }
    return sessions;
  }

  #upgraded;

  constructor(gateway, tally, { query = '', headers = '', path = `${HANDSHAKE}websocket` }) {
    this.#tally = tally;
    let head = '';
    const read = frameReader((packet) => this.#receive(packet));
    let resolve;
    this.#upgraded = new Promise((settle) => (resolve = settle));
    const onData = (chunk) => {
      if (head === null) return read(chunk);
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const status = head.match(/^HTTP\/1\.1 (\d{3})/)?.[1];
      const rest = Buffer.from(head.slice(end + 4), 'latin1');
      head = null;
      if (status !== '101') {
        tally.refuse(status);
        this.line.close();
        return resolve(false);
      }
      resolve(true);
      if (rest.length) read(rest);
    };
    this.line = new Line(gateway, tally, { onData });
    this.line.write(
      `GET ${path}${query} HTTP/1.1\r\nHost: rollcall\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${headers}\r\n`,
    );
    this.line.closed.then(() => {
      resolve(false);
      for (const settle of this.#waiting.values()) settle({ ok: false, code: 'CLOSED' });
    });
  }

  get isOpen() {
    return this.line.isOpen;
  }

  // Every packet but pings and acknowledgements, from now on.
  listen(onPacket) {
    this.#onPacket = onPacket;
  }

  // Resolves with the first packet that begins so, or undefined.
  packet(...heads) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ANSWER_MS);
      this.line.closed.then(() => resolve());
      this.listen((packet) => {
        if (!heads.some((head) => packet.startsWith(head))) return;
        clearTimeout(timer);
        this.listen(() => {});
        resolve(packet);
      });
    });
  }

  send(packet) {
    return this.line.write(frame(packet));
  }

  // Sends an event that is to be answered, and does not wait for that.
  fire(name, payload) {
    return this.send(event((this.#acks += 1), name, payload));
  }

  // Resolves with the answer; a refusal is counted.
  async ask(name, payload) {
    const ack = (this.#acks += 1);
    const answered = new Promise((resolve) => this.#waiting.set(String(ack), resolve));
    this.send(event(ack, name, payload));
    const timer = setTimeout(() => this.#settle(String(ack), { ok: false, code: 'NO_ANSWER' }), ANSWER_MS);
    const answer = await answered;
    clearTimeout(timer);
    if (!answer.ok) this.#tally.refuse(answer.code);
    return answer;
  }

  async join(roomId, userId, state) {
    const answer = await this.ask('presence:join', { roomId, userId, state });
    this.connId = answer.self?.connId;
    return answer;
  }

  close() {
    this.line.close();
  }

  async #enter(auth) {
    const entered = this.packet('40', '44');
    this.send(auth ? `40${JSON.stringify(auth)}` : '40');
    const packet = await entered;
    if (packet?.startsWith('40')) return true;
    this.#tally.refuse(packet ? refusalOf(packet) : 'CLOSED');
    this.close();
    return false;
  }

  #receive(packet) {
    if (packet === '2') return this.send('3');
    const ack = packet.match(/^43(\d+)/)?.[1];
    if (ack === undefined) return this.#onPacket(packet);
    this.#settle(ack, JSON.parse(packet.slice(2 + ack.length))[0]);
  }

  #settle(ack, answer) {
    this.#waiting.get(ack)?.(answer);
    this.#waiting.delete(ack);
  }
}
