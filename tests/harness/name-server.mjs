// A name server for which every name has the address 127.0.0.1, and about which everything can be made wrong.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const HEADER_BYTES = 12;
const TYPE_AND_CLASS_BYTES = 4;
const A = 1;
const LIFE_S = 1;
const ANSWER = 0x8180; // an answer, with recursion
// How it answers, as a code in the header.
const CODES = { well: 0, failing: 2, unknown: 3, refusing: 5 };

export class NameServer {
  // One of CODES, or "silent".
  mode = 'well';
  asked = 0;

  static async start() {
    const server = new NameServer();
    server.socket = createSocket('udp4');
    server.socket.on('message', (query, from) => server.#answer(query, from));
    server.socket.bind(0, '127.0.0.1');
    await once(server.socket, 'listening');
    server.port = server.socket.address().port;
    return server;
  }

  close() {
    this.socket.close();
  }

  #answer(query, { port, address }) {
    this.asked += 1;
    if (this.mode === 'silent') return;
    const question = query.subarray(HEADER_BYTES, query.indexOf(0, HEADER_BYTES) + 1 + TYPE_AND_CLASS_BYTES);
    // Names have no address of IPv6.
    const known = this.mode === 'well' && question.readUInt16BE(question.length - TYPE_AND_CLASS_BYTES) === A;
    const header = Buffer.alloc(HEADER_BYTES);
    query.copy(header, 0, 0, 2);
    [ANSWER | CODES[this.mode], 1, known ? 1 : 0].forEach((value, index) => header.writeUInt16BE(value, 2 + 2 * index));
    // The name is that of the question, at its place.
    const record = Buffer.from([0xc0, HEADER_BYTES, 0, A, 0, 1, 0, 0, 0, LIFE_S, 0, 4, 127, 0, 0, 1]);
    this.socket.send(Buffer.concat([header, question, ...(known ? [record] : [])]), port, address);
  }
}
