// One join is one trace, across processes: read from an OTLP receiver as a collector would.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { waitersKey } from '../harness/keys.mjs';
import { OtlpReceiver } from '../harness/otlp.mjs';
import { GATEWAY, STATE, System } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';

const SECRET = 'hunter2-never-in-telemetry';
// What a browser that traces itself would pass along.
const BROWSER = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
// Longer than what is kept of it.
const AGENT = `TestBrowser/1.0 ${'x'.repeat(300)}`;

let otlp;
let system;
let ann;
let bob;
let answer;

before(async () => {
  otlp = await OtlpReceiver.start();
  system = await System.start({ gateways: 2, states: 2, env: { ...otlp.env, DEPLOYMENT_ENVIRONMENT: 'development' } });
  const auth = { token: SECRET, traceparent: `00-${BROWSER.traceId}-${BROWSER.spanId}-01` };
  bob = await system.connect(1);
  await bob.join('traced', 'bob');
  ann = await system.connect(0, { auth, extraHeaders: { 'User-Agent': AGENT } });
  answer = await ann.join('traced', 'ann', { password: SECRET });
  await bob.receives({ type: 'join', userId: 'ann' });
});

after(async () => {
  await system?.close();
  otlp?.close();
});

const isOf = (client, name) => (span) => span.name === name && Object.values(span.attributes).includes(client.connId);

const rootOf = (client, event) => otlp.span(`socket ${event}`, isOf(client, `socket ${event}`));

function within(trace, name, service) {
  return otlp.span(`${name} in ${service}`, (span) => span.traceId === trace && span.name === name && span.service === service);
}

function assertAttributes(span, expected) {
  for (const [key, value] of Object.entries(expected)) {
    assert.equal(span.attributes[key], value, `${key} of ${span.name}: ${JSON.stringify(span.attributes)}`);
  }
}

// The spans from this one up to the root of its trace.
async function ancestors(span) {
  const chain = [];
  for (let at = span; at.parentId; ) {
    const child = at;
    at = await until(`the parent of ${child.name}`, () => otlp.parentOf(child));
    chain.push(at);
  }
  return chain;
}

test('the gateway: a root of kind SERVER that links to the connect', async () => {
  const root = await rootOf(ann, 'presence:join');
  assert.deepEqual({ kind: root.kind, parentId: root.parentId, service: root.service, status: root.status }, {
    kind: 'SERVER', parentId: '', service: GATEWAY, status: root.status === 'OK' ? 'OK' : 'UNSET',
  });
  assertAttributes(root, {
    'socket.event': 'presence:join', 'socket.connection_id': ann.connId, 'socket.transport': 'websocket',
    'presence.operation': 'join', 'presence.room_id': 'traced', 'presence.user_id': 'ann', 'presence.conn_id': ann.connId,
    'presence.state_bytes': JSON.stringify({ password: SECRET }).length,
  });
  const connect = await otlp.span('socket.connect', isOf(ann, 'socket.connect'));
  assert.equal(connect.kind, 'SERVER');
  assert.equal(connect.attributes['client.address'], '127.0.0.1');
  assert.equal(connect.attributes['user_agent.original'], AGENT.slice(0, 256));
  assert.ok(root.links.some(({ traceId, spanId }) => traceId === connect.traceId && spanId === connect.spanId), 'no link to the connect');
  const linked = [...connect.links, ...root.links].some(({ traceId, spanId }) => traceId === BROWSER.traceId && spanId === BROWSER.spanId);
  assert.ok(linked, 'the traceparent of the browser became no link');
});

test('presence-state: a CONSUMER in the same trace, child of the gateway', async () => {
  const root = await rootOf(ann, 'presence:join');
  const work = await within(root.traceId, 'presence.join', STATE);
  assert.equal(work.kind, 'CONSUMER');
  const chain = await ancestors(work);
  assert.equal(chain[0].service, GATEWAY);
  assert.equal(chain.at(-1).spanId, root.spanId);
  assertAttributes(work, {
    'presence.operation': 'join', 'presence.room_id': 'traced', 'presence.user_id': 'ann', 'presence.conn_id': ann.connId,
    'presence.epoch': answer.self.epoch, 'presence.snapshot_size': 2,
  });
});

test('Redis: a CLIENT below presence-state that names the script', async () => {
  const root = await rootOf(ann, 'presence:join');
  const script = await within(root.traceId, 'EVALSHA presence_join', STATE);
  assert.equal(script.kind, 'CLIENT');
  const chain = await ancestors(script);
  assert.ok(chain.some(({ name, service }) => name === 'presence.join' && service === STATE), chain.map(({ name }) => name).join());
  assertAttributes(script, {
    'db.system.name': 'redis', 'db.operation.name': 'EVALSHA', 'db.stored_procedure.name': 'presence_join', 'db.system': 'redis',
  });
  assert.ok(Object.keys(script.attributes).some((key) => key.startsWith('redis.')), JSON.stringify(script.attributes));
});

test('delivery: a CONSUMER in the same trace on the gateway that has a member', async () => {
  const root = await rootOf(ann, 'presence:join');
  const other = system.gateways[1];
  const { instance } = (await other.get('/version')).body;
  const delivery = await otlp.span('the delivery', (span) =>
    span.traceId === root.traceId && span.name === 'deliver presence.events' && span.resource['service.instance.id'] === instance);
  assert.equal(delivery.kind, 'CONSUMER');
  assert.ok((await ancestors(delivery)).some(({ service }) => service === STATE), 'the delivery does not descend from presence-state');
  assert.equal(delivery.attributes['messaging.system'], 'redis');
  assert.ok(delivery.attributes['messaging.destination.name'], JSON.stringify(delivery.attributes));
  const recipients = Object.entries(delivery.attributes).find(([key]) => key.includes('recipients'));
  assert.equal(recipients?.[1], 1, JSON.stringify(delivery.attributes));
});

test('every process identifies itself', async () => {
  // Enough rooms that each state instance gets one.
  const clients = await system.connectMany(16);
  await Promise.all(clients.map((client, index) => client.join(`room-${index}`, 'carl')));
  // A room has one presence-state instance; a few rooms reach both.
  const visitor = await system.connect(0);
  for (let n = 0; n < 12; n += 1) {
    await visitor.join(`visited-${n}`, 'visitor');
    await visitor.leave();
  }
  for (const service of [...system.gateways, ...system.states]) {
    const { body } = await service.get('/version');
    const { resource } = await otlp.span(`anything of ${body.instance}`, ({ resource: of }) => of['service.instance.id'] === body.instance);
    assert.equal(resource['service.name'], body.service);
    assert.equal(resource['service.namespace'], 'rollcall');
    assert.equal(resource['service.version'], body.version);
    assert.equal(resource['deployment.environment.name'], 'development');
  }
});

test('a plain heartbeat is one span of the gateway, and nothing else', async () => {
  await ann.beat();
  const root = await rootOf(ann, 'presence:heartbeat');
  assert.deepEqual([root.kind, root.parentId, root.service], ['SERVER', '', GATEWAY]);
  assert.deepEqual(root.attributes, {
    'socket.event': 'presence:heartbeat', 'socket.connection_id': ann.connId, 'socket.transport': 'websocket',
    'presence.operation': 'heartbeat', 'presence.conn_id': ann.connId, 'presence.epoch': answer.self.epoch, 'presence.state_changed': false,
  });
  assert.ok(root.links.length > 0, 'no link to the connect');
  const below = otlp.spans.filter(({ traceId }) => traceId === root.traceId);
  assert.deepEqual(below.map(({ name }) => name), ['socket presence:heartbeat']);
});

test('a patch takes the full path and its span says that it changed something', async () => {
  await ann.patch({ n: 1 });
  const work = await otlp.span('presence.heartbeat', isOf(ann, 'presence.heartbeat'));
  assert.equal(work.kind, 'CONSUMER');
  assertAttributes(work, { 'presence.operation': 'heartbeat', 'presence.room_id': 'traced', 'presence.state_changed': true });
  const root = (await ancestors(work)).at(-1);
  assert.equal(root.name, 'socket presence:heartbeat');
  assert.equal(root.attributes['presence.state_bytes'], JSON.stringify({ password: SECRET, n: 1 }).length);
});

function refusal(client, code) {
  return otlp.span(`a ${code}`, (span) => span.attributes['error.type'] === code && Object.values(span.attributes).includes(client.connId));
}

test('a refused event has its code and an exception, and is no failure', async () => {
  await ann.ask('presence:join', { roomId: 'elsewhere', userId: 'ann' });
  const span = await refusal(ann, 'ROOM_CONFLICT');
  assert.equal(span.status, 'UNSET');
  assert.ok(span.events.includes('exception'), span.events.join());
});

test('a plain heartbeat that is refused, or concerns more than the gateway, is traced as other events are', async () => {
  const cat = await system.connect(0);
  await cat.join('alone', 'cat');
  await cat.leave();
  assert.equal((await cat.ask('presence:heartbeat', {})).code, 'NOT_JOINED');
  const refused = await refusal(cat, 'NOT_JOINED');
  assert.deepEqual([refused.name, refused.status], ['socket presence:heartbeat', 'UNSET']);
  assert.ok(refused.events.includes('exception'), refused.events.join());
  const { self } = await cat.join('alone', 'cat');
  await cat.beat({ epoch: self.epoch + 1 });
  const work = await otlp.span('presence.heartbeat', isOf(cat, 'presence.heartbeat'));
  const root = (await ancestors(work)).at(-1);
  assert.equal(root.name, 'socket presence:heartbeat');
  assertAttributes(root, { 'presence.epoch': self.epoch + 1, 'presence.room_id': 'alone' });
  cat.close();
});

test('a write of metadata is one trace to the members, and a conflict no error of the service', async () => {
  const written = await ann.metadata('setChannel', 'traced', 'T', [{ key: 'k', value: SECRET }]);
  const root = await rootOf(ann, 'metadata:setChannel');
  assertAttributes(root, { 'metadata.channel_name': 'traced', 'metadata.channel_type': 'T', 'socket.event': 'metadata:setChannel' });
  const set = await within(root.traceId, 'metadata.set', STATE);
  assertAttributes(set, { 'metadata.operation': 'set', 'metadata.revision.actual': written.majorRevision, 'metadata.conflict': false });
  assert.equal((await ancestors(set)).at(-1).spanId, root.spanId);
  await within(root.traceId, 'EVALSHA metadata', STATE);
  await within(root.traceId, 'deliver presence.events', GATEWAY);

  const late = { channelName: 'traced', channelType: 'T', data: [{ key: 'k', value: SECRET }], options: { majorRevision: 1 } };
  assert.equal((await bob.ask('metadata:updateChannel', late)).code, 'METADATA_CONFLICT');
  const refused = await rootOf(bob, 'metadata:updateChannel');
  const conflict = await within(refused.traceId, 'metadata.update', STATE);
  assertAttributes(conflict, {
    'metadata.conflict': true, 'metadata.revision.expected': 1, 'metadata.revision.actual': written.majorRevision,
  });
  assert.notEqual(conflict.status, 'error');
  assert.ok(conflict.events.includes('metadata.conflict'), conflict.events.join());
});

test('a lock that is waited for is one trace, and its handover one with the release', async () => {
  const held = await bob.lock('acquire', 'traced', 'pen');
  const waiting = ann.lock('acquire', 'traced', 'pen', { waitMs: 5000 });
  await until('ann to stand in line', async () => (await system.redis.command('ZCARD', waitersKey('traced'))) === 1);
  await bob.lock('release', 'traced', 'pen', { fence: held.fence });
  const { fence } = await waiting;
  const root = await rootOf(ann, 'lock:acquire');
  assertAttributes(root, { 'lock.channel_name': 'traced', 'lock.name': 'pen', 'lock.fence': fence, 'lock.retries': 0 });
  assert.ok(root.attributes['lock.waited_ms'] >= 0);
  const acquire = await within(root.traceId, 'lock.acquire', STATE);
  assertAttributes(acquire, { 'lock.outcome': 'waits', 'lock.holder': bob.connId, 'lock.fence': held.fence, 'lock.ahead': 0 });
  const release = await rootOf(bob, 'lock:release');
  await within(release.traceId, 'EVALSHA lock_release', STATE);
  await within(release.traceId, 'deliver presence.events', GATEWAY);
  await ann.lock('release', 'traced', 'pen', { fence });
});

test('leave and disconnect are traced too, the disconnect linked to its connect', async () => {
  const { connId } = bob;
  await bob.leave();
  const root = await rootOf(bob, 'presence:leave');
  assert.equal((await within(root.traceId, 'presence.leave', STATE)).kind, 'CONSUMER');
  const connect = await otlp.span('socket.connect', isOf(bob, 'socket.connect'));
  bob.close();
  const disconnect = await otlp.span('socket.disconnect', (span) => span.name === 'socket.disconnect' && Object.values(span.attributes).includes(connId));
  assert.equal(disconnect.kind, 'SERVER');
  assert.ok(disconnect.links.some(({ spanId }) => spanId === connect.spanId), 'no link to the connect');
});

test('a join that was refused for what it sent is found by its user and by its room', async () => {
  const cleo = await system.connect(0);
  await cleo.ask('presence:join', { roomId: 'refused', userId: 'cleo', state: SECRET });
  const root = await otlp.span('the refused join', (span) => span.name === 'socket presence:join' && span.attributes['presence.user_id'] === 'cleo');
  assertAttributes(root, {
    'presence.operation': 'join', 'presence.room_id': 'refused', 'presence.user_id': 'cleo', 'error.type': 'INVALID_PAYLOAD',
  });
});

test('a failure of ours is an error with an exception', async () => {
  await Promise.all(system.states.map((state) => state.kill()));
  await until('UNAVAILABLE', async () => (await ann.ask('presence:heartbeat', { patchState: { n: 2 } })).code === 'UNAVAILABLE');
  const span = await refusal(ann, 'UNAVAILABLE');
  assert.equal(span.status, 'ERROR');
  assert.ok(span.events.includes('exception'), span.events.join());
});

test('no state and no auth payload is ever in telemetry', () => {
  assert.ok(otlp.bytes.includes('presence:join'), 'nothing was received');
  assert.ok(!otlp.bytes.includes(SECRET), 'a secret was exported');
});
