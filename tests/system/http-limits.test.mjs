// What one client can cost before it is in a namespace: slow, large and many requests, connections and sessions; pages from elsewhere.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket } from 'ws';

import { TRANSPORTS } from '../harness/client.mjs';
import { gatewayAlone } from '../harness/gateway-alone.mjs';
import { RawConnection, head } from '../harness/raw-http.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until, withTimeout } from '../harness/until.mjs';

const POLLING = '/socket.io/?EIO=4&transport=polling';
const WEBSOCKET = '/socket.io/?EIO=4&transport=websocket';
// CONNECT, and the answer to the first ping.
const ENTER = '40\x1e3';
const PROXY = { TRUSTED_PROXIES: '127.0.0.0/8' };
const from = (address) => ({ headers: { 'x-forwarded-for': address } });

const gateway = (name, env, ...rest) => gatewayAlone(name, { ADDRESS_HANDSHAKES_PER_S: '100', ...env }, ...rest);

async function handshake(service, options) {
  const answer = await service.get(POLLING, { signal: AbortSignal.timeout(10_000), ...options });
  return { ...answer, sid: answer.status === 200 ? JSON.parse(answer.body.slice(1)).sid : undefined };
}

const post = (service, sid, body) => service.get(`${POLLING}&sid=${sid}`, { method: 'POST', body });

// Resolves with the WebSocket, or with the status that it was refused with.
async function websocket(service, { path = WEBSOCKET, ...options } = {}) {
  const ws = new WebSocket(service.url.replace('http', 'ws') + path, options);
  ws.packets = [];
  ws.on('message', (data) => {
    ws.packets.push(String(data));
    if (String(data) === '2') ws.send('3');
  });
  ws.on('error', () => {});
  const refused = once(ws, 'unexpected-response').then(([, response]) => {
    response.resume();
    return response.statusCode;
  });
  const answer = await withTimeout('the WebSocket', 5000, Promise.race([once(ws, 'open').then(() => ws), refused]));
  return answer;
}

const closed = (ws) => withTimeout('the WebSocket to close', 20_000, once(ws, 'close'));

gateway('a head that does not come within 5 s ends its connection', {}, async (service) => {
  const silent = await RawConnection.open(service);
  const half = await RawConnection.open(service);
  half.send('GET /healthz HTTP/1.1\r\nhost: te');
  const drip = await RawConnection.open(service);
  const timer = setInterval(() => drip.send('x'), 500);
  const second = await RawConnection.open(service);
  second.send(head('GET', '/healthz'));
  await until('its first answer', () => second.text.includes('ok'));
  second.send('GET /healthz HTTP/1.1\r\n');
  const all = [silent, half, drip, second];
  await withTimeout('every connection to end', 15_000, Promise.all(all.map((raw) => raw.closed)));
  clearInterval(timer);
  for (const { closedAfterMs } of [silent, half, drip]) assert.ok(closedAfterMs > 4500, `${closedAfterMs} ms`);
  assert.equal(second.status, 200);
  assert.ok(service.child.lines.some((line) => line.includes('request refused') && line.includes('request_head')));
});

// As container runtimes start it: few files, and leave to have more.
const files = (soft, hard) => ({ wrapper: () => ['sh', '-c', `ulimit -Sn ${soft} && ulimit -Hn ${hard} && exec "$@"`, 'sh'] });

for (const [hard, most] of [[1000, 744], [3000, 2024]]) {
  gateway(`a soft limit of 300 open files does not limit connections, the hard one of ${hard} does`,
    { ...files(300, hard), MAX_SESSIONS: '1000', ADDRESS_HANDSHAKES_PER_S: '0' }, async (service) => {
      const line = await until('its limits', () => service.child.lines.find((one) => one.includes('"message":"limits"')));
      const limits = JSON.parse(line);
      assert.deepEqual([limits.connections, limits.open_files], [most, Math.min(hard, most + 256)]);
      const all = await Promise.all(Array.from({ length: 400 }, () => RawConnection.open(service)));
      for (const raw of all) raw.send(head('GET', POLLING));
      await until('all to be answered', () => all.every(({ status }) => status === 200), { within: 10_000 });
    });
}

gateway('a connection that waits for its next request is kept', {}, async (service) => {
  const raw = await RawConnection.open(service);
  raw.send(head('GET', '/healthz'));
  await until('the answer', () => raw.text.includes('ok'));
  await holds('it is open', () => raw.closedAfterMs === undefined, { ms: 7000 });
  raw.text = '';
  raw.send(head('GET', '/healthz', { connection: 'close' }));
  await withTimeout('the second answer', 5000, raw.closed);
  assert.equal(raw.status, 200);
});

gateway('a large head is 431 and a long URI 414', {}, async (service) => {
  const large = (bytes) => RawConnection.ask(service, { path: '/healthz', headers: { x: 'x'.repeat(bytes) } });
  assert.equal((await large(15_000)).status, 200);
  assert.equal((await large(17_000)).status, 431);
  const long = (bytes) => RawConnection.ask(service, { path: `${POLLING}&x=`.padEnd(bytes, 'x') });
  assert.equal((await long(2048)).status, 200);
  assert.equal((await long(2049)).status, 414);
});

gateway('a WebSocket of another version is 426, which says the right one', {}, async (service) => {
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
  for (const version of [{ 'sec-websocket-version': '7' }, {}]) {
    const { status, headers } = await RawConnection.ask(service, { path: WEBSOCKET, headers: { ...upgrade, ...version } });
    assert.deepEqual([status, headers['sec-websocket-version'], headers.upgrade], [426, '13', 'websocket']);
  }
  // An offer that is not taken up is no error (RFC 9110, 7.8): curl and Java offer HTTP/2.
  for (const upgrade of ['h2c', 'websocket']) {
    const asked = Date.now();
    assert.equal((await RawConnection.ask(service, { path: POLLING, headers: { upgrade } })).status, 200, upgrade);
    assert.ok(Date.now() - asked < 5000, 'the session does not keep the connection of its handshake, for its 10 s');
  }
  assert.equal((await RawConnection.ask(service, { path: '/healthz', headers: { upgrade: 'h2c' } })).status, 200);
  assert.equal((await websocket(service)).readyState, WebSocket.OPEN);
});

gateway('a body that does not come within 10 s is 408', {}, async (service) => {
  const { sid } = await handshake(service);
  await post(service, sid, '40');
  const raw = await RawConnection.open(service);
  raw.send(head('POST', `${POLLING}&sid=${sid}`, { 'content-length': 100 }), '42[');
  await withTimeout('the end', 20_000, raw.closed);
  assert.equal(raw.status, 408);
  assert.ok(raw.closedAfterMs > 9500 && raw.closedAfterMs < 14_000, `${raw.closedAfterMs} ms`);
});

scenario('MAX_SESSIONS is reached, and reused however a session ended, on each transport', { env: { MAX_SESSIONS: '3' } }, async ({ system, room }) => {
  const [one] = system.gateways;
  const kinds = Object.values(TRANSPORTS);
  const ends = [(client) => client.close(), ({ engine }) => engine.transport.ws?.terminate() ?? engine.close(), ({ socket }) => socket.emit('x', Buffer.alloc(70_000))];
  for (const end of ends) {
    // One that was refused left nothing; those that were not are closed and make room at once.
    const clients = await until('room for three', async () => {
      const tries = await Promise.allSettled(kinds.map((transports) => system.connect(0, { transports })));
      if (tries.every(({ status }) => status === 'fulfilled')) return tries.map(({ value }) => value);
      tries.forEach(({ value }) => value?.close());
      return false;
    }, { within: 10_000, every: 200 });
    for (const client of clients) await client.join(room, 'ann');
    await until('the upgrade', () => clients.every(({ engine }, index) => kinds[index].length === 1 || engine.transport.name === 'websocket'));
    const refused = await handshake(one);
    assert.equal(refused.status, 503);
    assert.match(refused.headers.get('retry-after'), /^\d+$/);
    assert.equal(await websocket(one), 503);
    assert.equal((await one.get('/readyz')).status, 200);
    await clients[0].beat();
    clients.forEach(end);
    await until('all to end', () => clients.every(({ disconnects }) => disconnects.length > 0), { within: 10_000 });
  }
}, { within: 120_000 });

gateway('256 sessions of one address may be in no namespace, each for 10 s', PROXY, async (service) => {
  const begun = Date.now();
  const [one, other] = [from('203.0.113.1'), from('203.0.113.2')];
  const all = await Promise.all(Array.from({ length: 256 }, () => handshake(service, one)));
  assert.ok(all.every(({ status }) => status === 200));
  // No edge tries another gateway.
  assert.equal((await handshake(service, one)).status, 429);
  assert.equal(await websocket(service, one), 429);
  assert.equal((await handshake(service, other)).status, 200);
  // A session that enters makes room.
  assert.equal((await post(service, all[0].sid, ENTER)).status, 200);
  const ws = await until('a place', async () => {
    const answer = await websocket(service, one);
    return answer.close && answer;
  });
  await closed(ws);
  const { status } = await until('places for all', async () => {
    const answer = await handshake(service, one);
    return answer.status === 200 && answer;
  }, { within: 10_000 });
  assert.equal(status, 200);
  const took = Date.now() - begun;
  assert.ok(took > 9500 && took < 20_000, `${took} ms`);
  assert.equal((await post(service, all[1].sid, '40')).status, 400, 'the session is gone');
  assert.equal((await service.get(`${POLLING}&sid=${all[0].sid}`)).status, 200, 'the one that entered is not');
});

gateway('a session that left its namespace is closed after 10 s unless it enters again', {}, async (service) => {
  const enter = async () => {
    const ws = await websocket(service);
    ws.send('40');
    await until('the CONNECT', () => ws.packets.some((packet) => packet.startsWith('40')));
    return ws;
  };
  const [stays, leaves, returns] = [await enter(), await enter(), await enter()];
  const { sid } = await handshake(service);
  await post(service, sid, ENTER);
  const left = Date.now();
  leaves.send('41');
  returns.send('41');
  await post(service, sid, '41');
  setTimeout(() => returns.send('40'), 3000);
  await closed(leaves);
  assert.ok(Date.now() - left > 9500, `${Date.now() - left} ms`);
  await until('the polling session to be refused', async () => (await post(service, sid, '3')).status === 503);
  await holds('the others are open', () => [stays, returns].every((ws) => ws.readyState === WebSocket.OPEN), { ms: 5000 });
});

for (const [whose, env] of [['of one address', {}], ['in all', PROXY]]) {
  gateway(`health pages answer when there are too many connections ${whose}`, { MAX_SESSIONS: '1', ...env }, async (service) => {
    const ask = (path) => RawConnection.ask(service, { path });
    const held = [];
    const idle = async () => {
      const raw = await RawConnection.open(service);
      raw.send(head('GET', '/healthz'));
      held.push(raw);
    };
    for (let round = 0; round < 11; round += 1) await Promise.all(Array.from({ length: 100 }, idle));
    await until('the limit', async () => (await ask(POLLING)).status === 503);
    // Those over the limit were answered, too, and closed.
    const most = whose === 'in all' ? 1025 : 1024;
    await until(`${most} connections`, () => held.filter(({ closedAfterMs }) => closedAfterMs === undefined).length === most);
    const [health, version, refused] = [await ask('/healthz'), await ask('/version'), await ask(POLLING)];
    assert.deepEqual([health.status, version.status, refused.status], [200, 200, 503]);
    assert.equal(refused.headers['retry-after'], '1');
    // Connections over the limit that ask nothing do not keep it from answering others for long.
    const mute = await Promise.all(Array.from({ length: 3 }, () => RawConnection.open(service)));
    assert.equal((await ask('/healthz')).status, 200);
    await withTimeout('the mute ones to end', 8000, Promise.all(mute.map((raw) => raw.closed)));
    held.forEach((raw) => raw.close());
    await until('room', async () => (await ask(POLLING)).status === 200);
  });
}

gateway('an address may make so many handshakes a second', { ...PROXY, ADDRESS_HANDSHAKES_PER_S: '1' }, async (service) => {
  const statuses = async (count, address) => Promise.all(Array.from({ length: count }, async () => (await handshake(service, from(address))).status));
  const count = (all, status) => all.filter((one) => one === status).length;
  const burst = await statuses(15, '2001:db8::1');
  assert.ok(count(burst, 200) >= 10 && count(burst, 429) >= 3, String(burst));
  const refused = await handshake(service, from('2001:db8::2'));
  assert.equal(refused.status, 429, 'a network of 64 bits is one client');
  assert.match(refused.headers.get('retry-after'), /^[12]$/);
  assert.equal(await websocket(service, from('2001:db8::1')), 429);
  assert.deepEqual(await statuses(2, '2001:db8:0:1::1'), [200, 200]);
  const { sid } = await handshake(service, from('203.0.113.1'));
  const more = await Promise.all(Array.from({ length: 30 }, () => service.get(`${POLLING}&sid=${sid}`, { method: 'POST', body: '3', ...from('203.0.113.1') })));
  assert.ok(more.every(({ status }) => status === 200), 'requests of a session are not handshakes');
  await until('the next', async () => (await handshake(service, from('2001:db8::1'))).status === 200);
  assert.ok(service.child.lines.some((line) => line.includes('request refused') && line.includes('address_rate')));
});

gateway('a page of an origin that is not named cannot connect', { CORS_ORIGINS: 'https://app.example,http://localhost:8080' }, async (service) => {
  const tries = async (origin) => {
    const headers = origin === undefined ? {} : { origin };
    const ws = await websocket(service, { headers });
    ws.close?.();
    return [(await handshake(service, { headers })).status, typeof ws === 'number' ? ws : 101];
  };
  for (const origin of ['https://app.example', 'http://localhost:8080', undefined]) assert.deepEqual(await tries(origin), [200, 101], origin);
  for (const origin of ['http://app.example', 'https://app.example:8443', 'https://evil.example', 'https://app.example.evil', 'null']) {
    assert.deepEqual(await tries(origin), [403, 403], origin);
  }
  const preflight = await service.get(POLLING, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type,x-my-app' },
  });
  assert.equal(preflight.status, 200);
  assert.equal(preflight.headers.get('access-control-allow-headers'), 'content-type,x-my-app');
});

scenario('refusals are counted by reason, and limits are shown', { exports: true, env: { MAX_SESSIONS: '1', ADDRESS_HANDSHAKES_PER_S: '1' } }, async ({ system, otlp }) => {
  const [one] = system.gateways;
  await system.connect();
  assert.equal((await handshake(one)).status, 503);
  assert.equal((await one.get(`${POLLING}&x=`.padEnd(3000, 'x'))).status, 414);
  await otlp.adds('presence.refused.total', { reason: 'sessions' }, 1);
  await otlp.adds('presence.refused.total', { reason: 'request_head' }, 1);
  await otlp.adds('presence.limit.used', { limit: 'sessions' }, 1);
});

gateway('only a session that polls can be upgraded to a WebSocket', {}, async (service) => {
  const { sid } = await handshake(service);
  const upgrade = (id) => websocket(service, { path: `${WEBSOCKET}&sid=${id}` });
  for (const unknown of ['AAAAAAAAAAAAAAAA', 'no-id', '']) assert.equal(await upgrade(unknown), 400, `sid=${unknown}`);
  const ws = await upgrade(sid);
  assert.equal(ws.readyState, WebSocket.OPEN);
  ws.send('2probe');
  await until('the answer to the probe', () => ws.packets.includes('3probe'));
  const own = await websocket(service);
  await until('the opening packet', () => own.packets.length > 0);
  assert.equal(await upgrade(JSON.parse(own.packets[0].slice(1)).sid), 400, 'a session with a WebSocket has one');
  for (const socket of [ws, own]) socket.terminate();
});
