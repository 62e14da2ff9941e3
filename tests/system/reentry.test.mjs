// A client that leaves the namespace and enters it again on the same connection: it is answered every time, and the two sessions
// have nothing in common. The official client closes its connection with its last socket, so this one speaks the protocol itself.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket } from 'ws';

import { sharedSystem } from '../harness/scenario.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const test = sharedSystem({ gateways: 1 });

const ROUNDS = 100;

class RawClient {
  packets = [];

  static async open(gateway) {
    const client = new RawClient();
    client.ws = new WebSocket(`${gateway.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    client.ws.on('message', (data) => client.#hear(String(data)));
    await withTimeout('the WebSocket to open', 5000, once(client.ws, 'open'));
    return client;
  }

  #hear(packet) {
    if (packet === '2') this.ws.send('3');
    else this.packets.push(packet);
  }

  send(...packets) {
    packets.forEach((packet) => this.ws.send(packet));
  }

  // Takes the first packet that begins with `head` out of those that came.
  async take(head) {
    const index = () => this.packets.findIndex((packet) => packet.startsWith(head));
    await until(`a packet ${head}`, () => index() >= 0, { within: 2000 });
    return this.packets.splice(index(), 1)[0];
  }

  async enter(...before) {
    this.send(...before, '40');
    await this.take('40{');
  }

  async join(roomId, userId) {
    this.send(`421["presence:join",${JSON.stringify({ roomId, userId })}]`);
    const [answer] = JSON.parse((await this.take('431[')).slice(3));
    assert.equal(answer.ok, true, JSON.stringify(answer));
    return answer;
  }
}

test('CONNECT right after DISCONNECT is answered every time', async ({ system }) => {
  const client = await RawClient.open(system.gateways[0]);
  await client.enter();
  for (let round = 0; round < ROUNDS; round += 1) await client.enter('41');
  client.ws.close();
});

test('two sessions of one connection have two seats, one after the other', async ({ system, room }) => {
  const watcher = await system.connect();
  await watcher.join(room, 'watcher');
  const client = await RawClient.open(system.gateways[0]);
  await client.enter();
  const first = (await client.join(room, 'first')).self.connId;
  await watcher.receives({ type: 'join', userId: 'first' });

  // What the room says from here on is for no one on this connection.
  await client.enter('41');
  client.packets = [];
  await watcher.receives({ type: 'leave', userId: 'first' });
  await watcher.patch({ n: 1 });
  client.send('422["presence:heartbeat",{}]');
  assert.match(await client.take('432['), /NOT_JOINED/);
  assert.deepEqual(client.packets, []);

  const second = (await client.join(room, 'second')).self.connId;
  assert.notEqual(second, first);
  await watcher.receives({ type: 'join', userId: 'second' });
  await watcher.patch({ n: 2 });
  assert.match(await client.take('42["presence:event"'), /"n":2/);
  client.ws.close();
  await watcher.receives({ type: 'leave', userId: 'second' });
  assert.deepEqual(watcher.events.filter(({ userId }) => userId !== 'watcher').map(({ type, connId }) => [type, connId]), [
    ['join', first], ['leave', first], ['join', second], ['leave', second],
  ]);
});
