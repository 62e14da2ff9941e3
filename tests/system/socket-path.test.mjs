// Socket.IO at another path (SOCKET_IO_PATH): clients, limits, origins and the edge find it there, and nowhere else.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client, TRANSPORTS } from '../harness/client.mjs';
import { Edge, missing } from '../harness/edge.mjs';
import { scenario } from '../harness/scenario.mjs';
import { spawnService } from '../harness/service.mjs';
import { GATEWAY } from '../harness/system.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const PATH = '/rt/socket.io';
const POLLING = `${PATH}/?EIO=4&transport=polling`;
const env = { SOCKET_IO_PATH: PATH };

async function meet(system, room, url) {
  const members = [];
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    const client = await Client.connect(url, { path: PATH, transports });
    system.clients.push(client);
    await client.join(room, name);
    members.push(client);
  }
  for (const member of members) await member.sees(Object.keys(TRANSPORTS));
  return members;
}

scenario('the official client finds it there by every transport, and nowhere else', { env }, async ({ system, room }) => {
  const [gateway] = system.gateways;
  const [first, second] = await meet(system, room, gateway.url);
  assert.equal((await first.patch({ n: 1 })).changed, true);
  await second.receives({ type: 'update', connId: first.connId });

  assert.ok((await gateway.get(POLLING)).headers.get('x-engine-sid'));
  for (const path of ['/socket.io/?EIO=4&transport=polling', `${PATH}x/?EIO=4&transport=polling`, '/rt/?EIO=4&transport=polling']) {
    assert.equal((await gateway.get(path)).status, 404, path);
  }
  await assert.rejects(Client.connect(gateway.url, {}), /websocket error/);
  assert.equal((await gateway.get('/readyz')).status, 200);
});

const LIMITED = { ...env, CORS_ORIGINS: 'https://app.example', MAX_SESSIONS: '3', DRAIN_MS: '3000' };

scenario('its checks and limits hold there', { env: LIMITED }, async ({ system, room }) => {
  const [gateway] = system.gateways;
  const from = (origin) => gateway.get(POLLING, { headers: { origin } });
  const allowed = await from('https://app.example');
  assert.deepEqual([allowed.status, allowed.headers.get('access-control-allow-origin')], [200, 'https://app.example']);
  assert.equal((await from('https://evil.example')).status, 403);
  assert.equal((await gateway.get(`${POLLING}&x=`.padEnd(2100, 'x'))).status, 414);
  const member = await Client.connect(gateway.url, { path: PATH });
  system.clients.push(member);
  await member.join(room, 'ann');
  await until('all sessions to be taken', async () => (await from('https://app.example')).status === 503);
  gateway.child.signal('SIGTERM');
  await until('new sessions to be refused', async () => (await gateway.get(POLLING)).body === 'this gateway is stopping');
  await member.disconnected();
});

scenario('the edge leads there', { skip: missing, env: { ...env, TRUSTED_PROXIES: '127.0.0.0/8' } }, async ({ system, room }) => {
  const edge = await Edge.start(system.gateways, { env });
  try {
    await meet(system, room, edge.url);
    assert.equal((await edge.get('/socket.io/?EIO=4&transport=polling')).status, 404);
    assert.equal((await edge.get('/readyz/x')).status, 404);
  } finally {
    system.closeClients();
    await edge.close();
  }
});

test('a path that no client can use is refused at the start, with what to write', async () => {
  const wrong = [
    ['/rt/', /SOCKET_IO_PATH is `\/rt\/`: leave out the \/ at the end/],
    ['rt', /begins with \//],
    ['/rt?a=b', /without a query/],
  ];
  for (const [path, advice] of wrong) {
    const child = spawnService(GATEWAY, { SOCKET_IO_PATH: path });
    assert.deepEqual(await withTimeout('the exit', 5000, child.exited), { code: 1, signal: null });
    assert.match(child.stderr, advice);
  }
});
