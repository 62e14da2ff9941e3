// A tiny client of the Redis protocol (RESP2): one connection, commands in, replies out, in order.
// For looking at a test's Redis from outside; it never reconnects.
import { once } from 'node:events';
import { connect } from 'node:net';

const CRLF = '\r\n';

// Reads one reply at `offset`; undefined when it has not all arrived yet.
function readReply(buffer, offset) {
  const lineEnd = buffer.indexOf(CRLF, offset);
  if (lineEnd < 0) return undefined;
  const head = buffer.toString('utf8', offset + 1, lineEnd);
  const next = lineEnd + 2;
  switch (String.fromCharCode(buffer[offset])) {
    case '+': return { value: head, next };
    case '-': return { value: new Error(head), next };
    case ':': return { value: Number(head), next };
    case '$': return readBulk(buffer, next, Number(head));
    case '*': return readArray(buffer, next, Number(head));
    default: throw new Error(`not a Redis reply: ${head}`);
  }
}

function readBulk(buffer, start, length) {
  if (length < 0) return { value: null, next: start };
  if (buffer.length < start + length + 2) return undefined;
  return { value: buffer.toString('utf8', start, start + length), next: start + length + 2 };
}

function readArray(buffer, start, length) {
  if (length < 0) return { value: null, next: start };
  const value = [];
  let next = start;
  for (let index = 0; index < length; index += 1) {
    const item = readReply(buffer, next);
    if (!item) return undefined;
    value.push(item.value);
    next = item.next;
  }
  return { value, next };
}

export class RespClient {
  #waiting = [];
  #unread = Buffer.alloc(0);

  static async connect(port) {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RespClient(socket);
  }

  constructor(socket) {
    this.socket = socket;
    socket.on('data', (chunk) => this.#read(chunk));
    socket.on('error', () => {}); // `close` follows and tells those who wait
    socket.on('close', () => this.#fail(new Error('the connection to Redis was closed')));
  }

  get open() {
    return !this.socket.destroyed;
  }

  command(...args) {
    const parts = args.map((arg) => `$${Buffer.byteLength(String(arg))}${CRLF}${arg}${CRLF}`);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.socket.write(`*${args.length}${CRLF}${parts.join('')}`);
    });
  }

  close() {
    this.socket.destroy();
  }

  #read(chunk) {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    for (let reply; (reply = this.#unread.length && readReply(this.#unread, 0)); ) {
      this.#unread = this.#unread.subarray(reply.next);
      const { resolve, reject } = this.#waiting.shift();
      if (reply.value instanceof Error) reject(reply.value);
      else resolve(reply.value);
    }
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
