// Thousands of members that only have to be present: a WebSocket with just enough Socket.IO to join a room and stay in it.
// Members whose view is checked are official clients (client.mjs).
import { once } from 'node:events';
import { WebSocket } from 'ws';

// Connecting at the same time; each is a handful of round trips.
const TOGETHER = 128;

// Calls `body` with 0 to `count - 1`, so many at a time.
export async function each(count, body, together = TOGETHER) {
  const results = [];
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const index = next;
      next += 1;
      results[index] = await body(index);
    }
  };
  await Promise.all(Array.from({ length: together }, lane));
  return results;
}

export class RawMember {
  #socket;
  #waiting = null;

  constructor(url) {
    this.#socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
    this.#socket.on('message', (data) => this.#receive(data.toString()));
    this.#socket.on('error', () => {}); // `close` follows
    this.#socket.on('close', () => this.#waiting?.reject(new Error('the connection was closed before the answer')));
  }

  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  async connect() {
    await once(this.#socket, 'open');
    await this.#answer('40', '40');
    return this;
  }

  async join(roomId, userId) {
    await this.connect();
    const answer = await this.ask('presence:join', { roomId, userId });
    if (!answer.ok) throw new Error(`a join was answered ${JSON.stringify(answer)}`);
    this.connId = answer.self.connId;
    return this;
  }

  // Resolves with the answer. One question at a time.
  async ask(event, data) {
    const text = await this.#answer(`420${JSON.stringify([event, data])}`, '430');
    return JSON.parse(text.slice(3))[0];
  }

  close() {
    this.#socket.terminate();
  }

  #answer(packet, head) {
    return new Promise((resolve, reject) => {
      this.#waiting = { head, resolve, reject };
      this.#socket.send(packet);
    });
  }

  #receive(packet) {
    if (packet === '2') this.#socket.send('3');
    else if (this.#waiting && packet.startsWith(this.#waiting.head)) {
      this.#waiting.resolve(packet);
      this.#waiting = null;
    }
  }
}

export class RawMembers {
  // `count` members at that gateway; `whereOf(index)` returns each one's room and user.
  static async connect(gateway, count, whereOf) {
    const members = new RawMembers();
    members.members = await each(count, (index) => new RawMember(gateway.url).join(...whereOf(index)));
    return members;
  }

  get open() {
    return this.members.filter(({ isOpen }) => isOpen).length;
  }

  close() {
    for (const member of this.members) member.close();
  }
}
