// The edge's own limits, with HAProxy where it is installed: what one address may do, and that no flood makes it forget where others'
// sessions are.
import assert from 'node:assert/strict';

import { Client, TRANSPORTS } from '../harness/client.mjs';
import { Edge, missing } from '../harness/edge.mjs';
import { NameServer } from '../harness/name-server.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

const POLLING = '/socket.io/?EIO=4&transport=polling';
const SYSTEM = { skip: missing, gateways: 2, env: { TRUSTED_PROXIES: '127.0.0.0/8' } };

function edge(name, options, body) {
  scenario(name, SYSTEM, async ({ system, room }) => {
    const front = await Edge.start(system.gateways, options);
    const connect = async (more) => {
      const client = await Client.connect(front.url, more);
      system.clients.push(client);
      return client;
    };
    try {
      await body({ front, connect, system, room });
    } finally {
      system.closeClients();
      await front.close();
    }
  });
}

const handshakes = (front, count) => Promise.all(Array.from({ length: count }, () => front.get(POLLING)));
const count = (answers, status) => answers.filter((answer) => answer.status === status).length;

edge('it refuses what no client needs', {}, async ({ front }) => {
  assert.equal((await front.get('/healthz')).status, 404);
  assert.equal((await front.get(`${POLLING}&x=`.padEnd(2049, 'x'))).status, 414);
  assert.equal((await front.get(`${POLLING}&x=`.padEnd(2048, 'x'))).status, 200);
  const { headers } = await front.get(POLLING);
  assert.equal(headers.get('x-engine-sid'), null);
});

edge('an address begins sessions at its rate, and those that it has go on', { env: { ADDRESS_HANDSHAKES_PER_S: '5' } }, async ({ front, connect, room }) => {
  const clients = [await connect({ transports: TRANSPORTS.polling }), await connect()];
  for (const client of clients) await client.join(room, 'ann');
  const answers = await handshakes(front, 100);
  assert.ok(count(answers, 200) >= 30 && count(answers, 200) <= 55 && count(answers, 429) >= 45, JSON.stringify(answers.map(({ status }) => status)));
  assert.equal((await front.get(POLLING)).headers.get('retry-after'), '5');
  for (const client of clients) await client.patch({ n: 1 });
  assert.deepEqual(clients.flatMap(({ disconnects }) => disconnects), []);
  await until('the next handshake', async () => (await front.get(POLLING)).status === 200, { within: 15_000, every: 500 });
});

// URLs that mention "sid", of which gateways know none.
const NOT_IN_SESSION = ['&x=;sid=1', '&x=?sid=1', '&xsid=1', '&x=%26sid=1', '&s%69d=1', '&SID=1'];

edge('a handshake counts as one, however its URL looks', { env: { ADDRESS_HANDSHAKES_PER_S: '5' } }, async ({ front }) => {
  const ask = (more) => front.get(POLLING + more);
  for (const more of NOT_IN_SESSION) assert.equal((await ask(more)).status, 200, more);
  await handshakes(front, 60);
  for (const more of NOT_IN_SESSION) assert.equal((await ask(more)).status, 429, more);
  for (const more of ['&sid=1', '&sid=', '&sid=1&sid=']) assert.equal((await ask(more)).status, 400, more);
});

edge('a handshake does not choose its gateway by the id of a session', {}, async ({ front, system }) => {
  const sidOf = ({ body }) => JSON.parse(body.slice(1)).sid;
  const known = sidOf(await front.get(POLLING));
  const begun = (await Promise.all(Array.from({ length: 8 }, () => front.get(`${POLLING}&x=;sid=${known}`)))).map(sidOf);
  const enter = (sid) => system.gateways[0].get(`${POLLING}&sid=${sid}`, { method: 'POST', body: '40' });
  const here = count(await Promise.all(begun.map(enter)), 200);
  assert.ok(here > 0 && here < begun.length, `${here} of ${begun.length} are at one of two gateways`);
});

const FULL = { env: { ADDRESS_HANDSHAKES_PER_S: '0' }, entries: '100' };

edge('a flood of handshakes does not make it forget the sessions that it has', FULL, async ({ front, connect, room }) => {
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect({ transports: TRANSPORTS.polling })));
  for (const client of clients) await client.join(room, 'ann');
  for (let round = 0; round < 10; round += 1) await handshakes(front, 50);
  for (let round = 0; round < 5; round += 1) for (const client of clients) await client.patch({ round });
  await holds('every client still has its gateway', () => clients.every(({ disconnects }) => disconnects.length === 0), { ms: 500 });
});

scenario('a name server that fails or says nothing takes no gateway away', SYSTEM, async ({ system, room }) => {
  const nameServer = await NameServer.start();
  const front = await Edge.start(system.gateways, { nameServer });
  try {
    const clients = await Promise.all([TRANSPORTS.polling, TRANSPORTS.websocket].map((transports) => Client.connect(front.url, { transports })));
    system.clients.push(...clients);
    for (const client of clients) await client.join(room, 'ann');
    for (const mode of ['failing', 'refusing', 'silent']) {
      const { asked } = nameServer;
      nameServer.mode = mode;
      await holds(`a gateway, while the name server is ${mode}`, async () => (await front.get('/readyz')).status === 200, { ms: 10_000 });
      assert.ok(nameServer.asked > asked + 2, mode);
      for (const client of clients) await client.patch({ mode });
    }
    assert.deepEqual(clients.flatMap(({ disconnects }) => disconnects), []);
    nameServer.mode = 'unknown';
    await until('the edge to have no gateway', async () => (await front.get('/readyz')).status === 503, { within: 10_000 });
  } finally {
    system.closeClients();
    await front.close();
    nameServer.close();
  }
});
