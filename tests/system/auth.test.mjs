// With AUTH=jwt a client is who its token says, and may do what its token allows, until the token ends or is revoked: over every
// transport, with members on two gateways.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { io } from 'socket.io-client';

import { temporaryFolder } from '../harness/child.mjs';
import { Client, TRANSPORTS } from '../harness/client.mjs';
import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { spawnService } from '../harness/service.mjs';
import { Issuer, KeyServer, nowS } from '../harness/tokens.mjs';
import { holds, until, withTimeout } from '../harness/until.mjs';

const issuer = new Issuer();
// A Redis without one takes any password of its default user, so the services send this.
const PASSWORD = 'a-password-of-redis';
const passwordFile = join(temporaryFolder('auth'), 'password');
writeFileSync(passwordFile, PASSWORD);
after(() => {
  issuer.close();
  rmSync(dirname(passwordFile), { recursive: true });
});
// How the official client names a connection that broke. After 'io server disconnect' it would not reconnect.
const REASONS = { websocket: 'transport close', polling: 'transport error', upgrade: 'transport close' };
const test = sharedSystem({ gateways: 2, issuer });

// How a handshake ends that must be refused.
function refusal(url, options, within = 5000) {
  const socket = io(url, { forceNew: true, reconnection: false, transports: TRANSPORTS.websocket, ...options });
  return withTimeout('the handshake to be refused', within, new Promise((resolve, reject) => {
    socket.on('connect', () => reject(new Error('it was let in')));
    socket.on('disconnect', (reason) => reject(new Error(`it was let in and ended: ${reason}`)));
    socket.on('connect_error', resolve);
  })).finally(() => socket.disconnect());
}

const withToken = (system, token, gateway = 0, more = {}) =>
  Client.connect(system.gateways[gateway].url, { auth: { token }, ...more }).then((client) => {
    system.clients.push(client);
    return client;
  });

const code = async (answer) => (await answer).code;

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`over ${name}, a token says who its client is, and its info is shown to the room`, async ({ system, room }) => {
    const ben = await system.connect(1, { as: 'ben', transports });
    await ben.join(room, 'ben');
    const info = { name: 'Ann A.', admin: true };
    const ann = await withToken(system, issuer.token('ann', { info }), 0, { transports });
    const joined = await ann.ask('presence:join', { roomId: room });
    assert.equal(joined.ok, true);
    assert.deepEqual(joined.snapshot.map(({ userId, info: shown }) => [userId, shown]).sort(), [['ann', info], ['ben', undefined]]);
    assert.ok(joined.snapshot.every((member) => member.userId !== 'ben' || !('info' in member)), 'no field where there is no info');
    assert.deepEqual((await ben.receives({ type: 'join', userId: 'ann' })).info, info);
    await ann.patch({ a: 1 });
    assert.deepEqual((await ben.receives({ type: 'update', userId: 'ann' })).info, info);
  });

  test(`over ${name}, a handshake without a valid token ends in connect_error, and a later one with it is let in`, async ({ system }) => {
    const [{ url }] = system.gateways;
    for (const [auth, why] of [
      [undefined, /^UNAUTHENTICATED: a token is missing/],
      [{ token: 7 }, /^UNAUTHENTICATED: /],
      [{ token: 'a.b.c' }, /^UNAUTHENTICATED: /],
      [{ token: issuer.token('ann', { ttlS: -60 }) }, /^UNAUTHENTICATED: .*expired/],
      [{ token: issuer.sign({ alg: 'none' }, { sub: 'ann', exp: nowS() + 60 }) }, /^UNAUTHENTICATED: /],
      [{ token: issuer.sign({ alg: 'HS256' }, { sub: 'ann', exp: nowS() + 60 }, 'another secret') }, /^UNAUTHENTICATED: .*signature/],
    ]) assert.match((await refusal(url, { auth, transports })).message, why, JSON.stringify(auth));
    assert.match((await refusal(url, { transports, query: { token: issuer.token('ann') } })).message, /^UNAUTHENTICATED: /, 'a token in the URL');
    await system.connect(0, { transports });
  });
}

test('a refused client may try again on the same connection', async ({ system }) => {
  let token = 'bad';
  const socket = io(system.gateways[0].url, { forceNew: true, transports: TRANSPORTS.websocket, auth: (give) => give({ token }) });
  const refused = new Promise((resolve) => {
    socket.once('connect_error', resolve);
  });
  await withTimeout('the refusal', 5000, refused);
  token = issuer.token('ann');
  socket.connect();
  await until('it is let in', () => socket.connected);
  socket.disconnect();
});

test('each request needs its right, in the rooms of the token alone', async ({ system, room }) => {
  const ask = (client, right) => ({
    join: () => client.ask('presence:join', { roomId: room }),
    'metadata:read': () => client.ask('metadata:getChannel', { channelName: room, channelType: 'T' }),
    'metadata:write': () => client.ask('metadata:setChannel', { channelName: room, channelType: 'T', data: [{ key: 'k' }] }),
    lock: () => client.lock('get', room, 'l'),
  })[right]();
  const rights = ['join', 'metadata:read', 'metadata:write', 'lock'];
  for (const right of rights) {
    const client = await withToken(system, issuer.token('ann', { rooms: [{ room, allow: [right] }] }));
    for (const other of rights) {
      const answer = await ask(client, other);
      const isAllowed = right === other || (right === 'metadata:write' && other === 'metadata:read');
      assert.equal(answer.code, isAllowed ? undefined : 'FORBIDDEN', `with ${right}: ${other}`);
    }
    client.close();
  }
  const elsewhere = await withToken(system, issuer.token('ann', { rooms: [{ room: `${room}:*`, allow: ['join'] }] }));
  assert.equal(await code(elsewhere.ask('presence:join', { roomId: room })), 'FORBIDDEN');
  assert.equal(await code(elsewhere.ask('presence:join', { roomId: `${room}:1:2` })), 'FORBIDDEN');
  assert.equal(await code(elsewhere.ask('presence:join', { roomId: `${room}:1`, userId: 'ben' })), 'FORBIDDEN');
  await elsewhere.join(`${room}:1`, 'ann');
  const without = await withToken(system, issuer.sign({ alg: 'HS256' }, { sub: 'ann', exp: nowS() + 60 }));
  assert.equal(await code(without.ask('presence:join', { roomId: room })), 'FORBIDDEN');
});

test('a member that may not read metadata is sent no changes of it', async ({ system, room }) => {
  const ann = await withToken(system, issuer.token('ann', { rooms: [{ room, allow: ['join'] }] }), 1);
  await ann.join(room, 'ann');
  const ben = await system.connect(0, { as: 'ben' });
  await ben.join(room, 'ben');
  await ben.metadata('setChannel', room, 'T', [{ key: 'secret', value: 1 }]);
  await ben.patch({ done: true });
  await ann.receives({ type: 'update', userId: 'ben' });
  assert.deepEqual(ann.changes, []);
  assert.equal((await ann.ask('auth:refresh', { token: issuer.token('ann') })).ok, true);
  await ben.metadata('setChannel', room, 'T', [{ key: 'secret', value: 2 }]);
  await until('it is sent changes once it may read them', () => ann.changes.length === 1);
});

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`over ${name}, a refresh takes a new token of the same user and leaves a room that it does not allow`, async ({ system, room }) => {
    const ben = await system.connect(1, { as: 'ben', transports });
    await ben.join(room, 'ben');
    const ann = await withToken(system, issuer.token('ann', { ttlS: 60 }), 0, { transports });
    await ann.join(room, 'ann');
    assert.equal(await code(ann.ask('auth:refresh', { token: issuer.token('ben') })), 'FORBIDDEN');
    assert.equal(await code(ann.ask('auth:refresh', { token: 'x' })), 'UNAUTHENTICATED');
    assert.equal(await code(ann.ask('auth:refresh', {})), 'INVALID_PAYLOAD');
    await ann.patch({ still: 'here' });

    const exp = nowS() + 500;
    const renewed = await ann.ask('auth:refresh', { token: issuer.token('ann', { exp }) });
    assert.deepEqual(renewed, { ok: true, expiresAt: exp * 1000 });
    await ann.patch({ still: 'there' });
    const held = await ann.lock('acquire', room, 'pen');
    assert.equal(held.ok, true);

    const narrow = await ann.ask('auth:refresh', { token: issuer.token('ann', { exp, rooms: [{ room: 'other', allow: ['join'] }] }) });
    assert.deepEqual(narrow, { ok: true, expiresAt: exp * 1000, left: room });
    ann.follow = false;
    assert.equal((await ben.receives({ type: 'leave', userId: 'ann' })).reason, 'forbidden');
    assert.equal((await ben.lock('acquire', room, 'pen', { waitMs: 2000 })).ok, true, 'its lock ended');
    assert.equal(await code(ann.ask('presence:heartbeat', {})), 'NOT_JOINED');
    assert.equal(await code(ann.ask('presence:join', { roomId: room })), 'FORBIDDEN');
    ann.close();
  });
}

test('a lock in a room where the new token allows none is released, and may always be released', async ({ system, room }) => {
  const exp = nowS() + 300;
  const ben = await system.connect(1, { as: 'ben' });
  await ben.join(room, 'ben');
  const ann = await withToken(system, issuer.token('ann'));
  await ann.join(room, 'ann');
  const { fence } = await ann.lock('acquire', room, 'pen', { ttlMs: 300_000 });
  assert.equal((await ann.ask('auth:refresh', { token: issuer.token('ann', { exp, rooms: [{ room, allow: ['join'] }] }) })).ok, true);
  assert.equal((await ben.lock('acquire', room, 'pen', { waitMs: 3000 })).ok, true);
  assert.equal(await code(ann.lock('acquire', room, 'other')), 'FORBIDDEN');
  assert.equal(await code(ann.lock('release', room, 'pen', { fence })), 'LOCK_LOST', 'not FORBIDDEN');
});

test('a client is warned before its token ends, is refused after that, and may still refresh', async ({ system, room }) => {
  const exp = nowS() + 4;
  const ann = await withToken(system, issuer.token('ann', { exp }));
  const warnings = [];
  ann.socket.on('auth:expiring', (message) => warnings.push(message));
  await ann.join(room, 'ann');
  await until('the warning', () => warnings.length > 0);
  assert.deepEqual(warnings, [{ expiresAt: exp * 1000 }]);
  await until('the token ended', async () => (await code(ann.ask('presence:heartbeat', { patchState: { n: nowS() } }))) === 'UNAUTHENTICATED', { every: 200, within: 20_000 });
  assert.equal(await code(ann.ask('metadata:getChannel', { channelName: room, channelType: 'T' })), 'UNAUTHENTICATED');
  assert.equal((await ann.beat()).ok, true, 'it is still a member');
  assert.equal((await ann.ask('auth:refresh', { token: issuer.token('ann') })).ok, true);
  await ann.patch({ back: true });
  assert.equal(warnings.length, 1);
});

scenario('30 s after its token ended, a client is disconnected and comes back with a new one', { issuer }, async ({ system, room }) => {
  const ben = await system.connect(0, { as: 'ben' });
  await ben.join(room, 'ben');
  const tokens = [issuer.token('ann', { ttlS: 1 }), issuer.token('ann')];
  const ann = await Client.connect(system.gateways[0].url, { reconnection: true, auth: (give) => give({ token: tokens.shift() }) });
  await ann.join(room, 'ann');
  const began = Date.now();
  assert.equal(await ann.disconnected(40_000), 'transport close', 'the reason for which the official client reconnects');
  assert.ok(Date.now() - began >= 28_000);
  assert.equal((await ben.receives({ type: 'leave', userId: 'ann' })).reason, 'disconnected');
  await until('it is back', () => ann.socket.connected);
  ann.close();
});

test('without a room in its token a client may nothing, and says so', async ({ system, room }) => {
  const guest = await withToken(system, issuer.token('ann', { rooms: [] }));
  const answer = await guest.ask('presence:join', { roomId: room });
  assert.deepEqual([answer.code, answer.error], ['FORBIDDEN', 'the token does not allow join in this room']);
});

scenario('without tokens, METADATA_OUTSIDERS=refuse keeps channels for members', { env: { METADATA_OUTSIDERS: 'refuse' } }, async ({ system, room }) => {
  const ann = await system.connect();
  const read = () => ann.ask('metadata:getChannel', { channelName: room, channelType: 'T' });
  assert.equal(await code(read()), 'FORBIDDEN');
  assert.equal(await code(ann.lock('get', room, 'l')), 'FORBIDDEN');
  await ann.join(room, 'ann');
  assert.equal((await read()).ok, true);
  assert.equal(await code(ann.ask('metadata:getChannel', { channelName: `${room}-2`, channelType: 'T' })), 'FORBIDDEN');
  assert.equal(await code(ann.ask('auth:refresh', { token: 'x' })), 'INVALID_PAYLOAD', 'there are no tokens');
});

test('the id that members see opens no session, on either transport', async ({ system, room }) => {
  const ann = await system.connect(0, { as: 'ann', transports: TRANSPORTS.polling });
  await ann.join(room, 'ann');
  const { url } = system.gateways[0];
  for (const request of [
    fetch(`${url}/socket.io/?EIO=4&transport=polling&sid=${ann.connId}`),
    fetch(`${url}/socket.io/?EIO=4&transport=polling&sid=${ann.connId}`, { method: 'POST', body: '42["presence:leave"]' }),
    fetch(`${url}/socket.io/?EIO=4&transport=websocket&sid=${ann.connId}`, { headers: { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' } }).catch(() => ({ status: 400 })),
  ]) assert.equal((await request).status, 400);
  assert.equal((await ann.beat()).ok, true);
  await holds('it stays', () => ann.inRoom, { ms: 300 });
});

scenario('no token, key or password appears in any output, span, metric or page', { issuer, exports: true, env: { RUST_LOG: 'debug', REDIS_PASSWORD_FILE: passwordFile } }, async ({ system, room, otlp }) => {
  const tokens = [
    issuer.token('ann', { jti: 'j-1' }),
    issuer.token('ann', { ttlS: -60 }),
    issuer.sign({ alg: 'HS256' }, { sub: 'ann', exp: nowS() + 60 }, 'wrong'),
    issuer.token('ann', { ttlS: 30 }),
  ];
  const [good, expired, forged, renewed] = tokens;
  const ann = await withToken(system, good);
  await ann.join(room, 'ann');
  for (const token of [expired, forged]) {
    await refusal(system.gateways[0].url, { auth: { token } });
    await refusal(system.gateways[0].url, { auth: { token }, transports: TRANSPORTS.polling });
    await ann.ask('auth:refresh', { token });
  }
  await ann.ask('auth:refresh', { token: renewed });
  await ann.ask('auth:refresh', { token: renewed, junk: { token: good } });
  ann.socket.emit('auth:refresh', [good], good);
  await ann.beat();
  await otlp.span('of the refresh', ({ name }) => name === 'socket auth:refresh');
  await until('refusals are counted', () => otlp.total('presence.refused.total', { reason: 'unauthenticated' }) >= 6);
  const pages = await Promise.all(['/readyz', '/healthz', '/version'].map((path) => system.gateways[0].get(path)));
  const output = [JSON.stringify(pages), system.report(), ...system.services.flatMap(({ child }) => child.lines), otlp.bytes.toString('latin1')].join('\n');
  const secrets = [...issuer.secrets, PASSWORD, ...tokens.flatMap((token) => [token, token.split('.')[1], token.split('.')[2]])];
  for (const secret of secrets.filter(Boolean)) assert.ok(!output.includes(secret), `${secret.slice(0, 12)}… appears`);
});

// Runs the operator's command with the settings of a gateway.
async function revoke(system, ...args) {
  const child = spawnService('presence-gateway', { ...system.env, LOG_FORMAT: 'json' }, ['revoke', ...args]);
  await until('the command to end', () => child.exit !== null);
  return { lines: child.lines };
}

// Each gateway reads the list twice a second: the one that has closed a socket may be ahead of the other. A session that it lets in
// and ends within its upgrade tells its client nothing (E1 in docs/internals/libraries.md), so no try may take longer than that.
async function refusedAsRevoked(system, token, transports) {
  for (const { url } of system.gateways) {
    const isRefused = async () => /revoked/.test((await refusal(url, { auth: { token }, transports }, 1500)).message);
    await until('the token to be refused', isRefused, { within: 3000 });
  }
}

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`over ${name}, revoked tokens end their sockets within a second on every gateway, and open none`, async ({ system, room }) => {
    const user = `${name}-ann`;
    const iat = nowS() - 5;
    const tokens = [issuer.token(user, { iat }), issuer.token(user, { iat, jti: `${name}-j` })];
    const sockets = await Promise.all(tokens.map((token, gateway) => withToken(system, token, gateway, { transports })));
    const ben = await system.connect(0, { as: 'ben', transports });
    await ben.join(room, 'ben');
    await sockets[1].join(room, user);
    assert.match((await revoke(system, '--jti', `${name}-j`)).lines.join(' '), /revoked: the token/);
    assert.equal(await sockets[1].disconnected(2000), REASONS[name], 'one after which the official client reconnects');
    assert.equal((await ben.receives({ type: 'leave', userId: user })).reason, 'disconnected');
    await refusedAsRevoked(system, tokens[1], transports);
    assert.equal(await code(sockets[0].ask('auth:refresh', { token: tokens[1] })), 'UNAUTHENTICATED');

    await revoke(system, '--sub', user, '--issued-before', String(iat));
    await holds('a later token is not meant', () => sockets[0].socket.connected, { ms: 1500 });
    const began = Date.now();
    await revoke(system, '--sub', user);
    await sockets[0].disconnected(2000);
    assert.ok(Date.now() - began < 2000);
    await refusedAsRevoked(system, tokens[0], transports);
    assert.ok(ben.socket.connected, 'others stay');
    // An issuer's clock may be 10 s ahead.
    const later = () => issuer.token(user, { iat: nowS() + 9, exp: nowS() + 60 });
    const isLetIn = () => withToken(system, later(), 0, { transports }).then((client) => client.close() ?? true, () => false);
    await until('a token that was issued later is valid', isLetIn, { within: 15_000, every: 500 });
  });
}

test('the command to revoke names what it does not understand', async ({ system }) => {
  const { lines } = await revoke(system, '--user', 'ann');
  assert.match(lines.join('\n'), /--user is not understood[\s\S]*Usage/);
});

scenario('a client whose token cannot be judged loses its connection, tries again, and is let in once it can be', {}, async ({ system }) => {
  const keys = await KeyServer.start();
  try {
    keys.isUp = false;
    const gateway = await system.addGateway({ AUTH: 'jwt', JWT_JWKS_URL: keys.url });
    const socket = io(gateway.url, { forceNew: true, transports: TRANSPORTS.websocket, reconnectionDelay: 100, reconnectionDelayMax: 300, auth: { token: keys.token('ann') } });
    const refusals = [];
    socket.on('connect_error', ({ message }) => refusals.push(message));
    await holds('it is not let in', () => !socket.connected, { ms: 1000 });
    keys.isUp = true;
    await until('it is let in', () => socket.connected, { within: 45_000 });
    socket.disconnect();
    assert.ok(!refusals.some((message) => message.startsWith('UNAUTHENTICATED')), refusals.join());
  } finally {
    keys.close();
  }
});
