// HTTP by hand, for clients that behave badly: what is sent, byte for byte, and when; what came back; how long the connection stayed.
import { once } from 'node:events';
import { connect } from 'node:net';

import { withTimeout } from './until.mjs';

export class RawConnection {
  text = '';
  closedAfterMs = undefined;

  static async open(service) {
    const { hostname, port } = new URL(service.url);
    const raw = new RawConnection();
    raw.socket = connect({ host: hostname, port, noDelay: true });
    raw.socket.on('data', (bytes) => { raw.text += bytes; });
    raw.socket.on('error', () => {}); // a connection that is cut off is closed, too
    await withTimeout('the connection', 5000, once(raw.socket, 'connect'));
    raw.begun = Date.now();
    raw.closed = new Promise((resolve) => {
      raw.socket.once('close', () => {
        raw.closedAfterMs = Date.now() - raw.begun;
        resolve(raw);
      });
    });
    return raw;
  }

  // Sends one request and resolves with its answer's status and headers once the connection is closed.
  static async ask(service, { method = 'GET', path, headers = {}, body = '' }) {
    const raw = await RawConnection.open(service);
    raw.send(head(method, path, { connection: 'close', ...headers }), body);
    await withTimeout(`the answer to ${path.slice(0, 80)}`, 20_000, raw.closed);
    return raw.answer;
  }

  send(...texts) {
    texts.forEach((text) => this.socket.write(text));
  }

  get status() {
    return Number(this.text.split(' ')[1]);
  }

  get answer() {
    const [top, ...body] = this.text.split('\r\n\r\n');
    const lines = top.split('\r\n').slice(1).map((line) => line.split(/: */, 2));
    const headers = Object.fromEntries(lines.map(([name, value]) => [name.toLowerCase(), value]));
    return { status: this.status, headers, body: body.join('\r\n\r\n') };
  }

  close() {
    this.socket.destroy();
  }
}

export function head(method, path, headers = {}) {
  const lines = Object.entries({ host: 'test', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}
