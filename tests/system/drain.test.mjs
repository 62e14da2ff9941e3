// A gateway is stopped and started again on its port: its clients come back by themselves.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';

import { TRANSPORTS } from '../harness/client.mjs';
import { ROOM_KEYS } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { until } from '../harness/until.mjs';

const DRAIN = { env: { DRAIN_MS: '1500' } };
const IMPATIENT = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 };
const HANDSHAKE = '/socket.io/?EIO=4&transport=polling';
const EACH = 4;

const portOf = ({ url }) => new URL(url).port;

// The body of the answer to a request with a connection of its own.
async function onNewConnection(url, { method = 'GET', body } = {}) {
  const asked = request(url, { method, agent: false }).end(body);
  const [response] = await once(asked, 'response');
  return text(response);
}

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  scenario(`clients of a gateway that restarts come back by themselves: ${name}`, DRAIN, async ({ system, room }) => {
    const [gateway] = system.gateways;
    const users = await system.connectMany(EACH, { transports, ...IMPATIENT });
    const given = []; // reasons for which a client no longer tries
    for (const { socket } of users) {
      const giveUp = (reason) => socket.active || given.push(String(reason));
      socket.on('disconnect', giveUp);
      socket.on('connect_error', giveUp);
    }
    const join = () => Promise.all(users.map((user, index) => user.join(room, `user-${index}`)));
    await join();
    const before = new Set(users.map(({ connId }) => connId));

    assert.deepEqual(await gateway.terminate(), { code: 0, signal: null });
    await until('everyone to be disconnected', () => users.every(({ disconnects }) => disconnects.length > 0));
    await system.addGateway({ PORT: portOf(gateway) });
    await until('everyone to be back', () => users.every(({ socket }) => socket.connected));
    assert.deepEqual(given, []);
    await join();
    assert.ok(users.every(({ connId }) => !before.has(connId)), 'a connection came back under its old id');
    await users[0].sees(users.map((_, index) => `user-${index}`));
  });
}

scenario('while a gateway drains, sessions continue and new ones are refused with 503', { env: { DRAIN_MS: '4000' } }, async ({ system, room }) => {
  const [gateway] = system.gateways;
  // Keeps the drain from having nothing to wait for.
  await system.connectMany(20);
  const open = await Promise.all(Array.from({ length: 10 }, () => gateway.get(HANDSHAKE)));
  const sids = open.map(({ body }) => JSON.parse(body.slice(1)).sid);

  const ended = gateway.terminate();
  const { ready } = await gateway.unready({ within: 1000 });
  assert.equal(ready, false);
  const refused = await gateway.get(HANDSHAKE);
  assert.deepEqual([refused.status, refused.headers.get('retry-after'), refused.headers.get('connection')], [503, '1', 'close']);

  // A handshake that had begun is completed and works, unless the connection of one of its requests has its turn to be closed.
  const complete = async (sid) => {
    const session = `${gateway.url}${HANDSHAKE}&sid=${sid}`;
    const say = async (body) => assert.equal(await onNewConnection(session, { method: 'POST', body }), 'ok');
    await say('40');
    assert.match(await onNewConnection(session), /40\{"sid":/);
    await say(`420["presence:join",{"roomId":"${room}","userId":"late-${sid}"}]`);
    assert.match(await onNewConnection(session), /430\[\{"ok":true/);
  };
  const completed = await Promise.allSettled(sids.map(complete));
  const failures = completed.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  for (const { code, message } of failures) assert.match(String(code), /^(ECONNRESET|EPIPE|ECONNREFUSED)$/, message);
  assert.ok(failures.length < sids.length, 'none was completed');
  assert.deepEqual(await ended, { code: 0, signal: null });
  const left = await system.redis.keys(ROOM_KEYS);
  assert.deepEqual(left, [], 'a late one was not evicted');
  assert.deepEqual(await system.redis.keys('*presence-gateway-*'), [], 'the gateway did not deregister');
});

// Whatever order the gateway takes its packets in, it does not count such a client forever.
scenario('clients that connect and close in one request keep no gateway from ending', { env: { DRAIN_MS: '300' } }, async ({ system }) => {
  const [gateway] = system.gateways;
  for (let n = 0; n < 50; n += 1) {
    const { sid } = JSON.parse((await gateway.get(HANDSHAKE)).body.slice(1));
    await gateway.get(`${HANDSHAKE}&sid=${sid}`, { method: 'POST', body: '40\u001e1' });
  }
  const began = Date.now();
  assert.deepEqual(await gateway.terminate(), { code: 0, signal: null });
  assert.ok(Date.now() - began < 2000, `it took ${Date.now() - began} ms`);
  assert.deepEqual(gateway.child.lines.filter((line) => line.includes('stopped before')), []);
  assert.deepEqual(await system.redis.keys('*presence-gateway-*'), [], 'the gateway did not deregister');
});
