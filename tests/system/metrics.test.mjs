// Metrics and log lines, read from an OTLP receiver as a collector would.
import assert from 'node:assert/strict';

import { ROOM_KEYS } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { GATEWAY, REAPER, SHORT_LIVES, STATE } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';

const SECRET = 'hunter2-never-in-telemetry';
// Histograms that are no latencies of operations.
const OTHER_BOUNDS = ['presence.connection.duration', 'presence.room.size'];

const metric = (name, options, body) => scenario(name, { exports: true, ...options }, body);

metric('operations, errors, events, locks and conflicts are counted exactly, over all instances', { gateways: 2, states: 2 }, async ({ system, room, otlp }) => {
  const clients = await system.connectMany(4);
  // Each user has two tabs, both at one gateway.
  for (const [index, client] of clients.entries()) await client.join(room, `user-${index % 2}`, { secret: SECRET });
  for (const client of clients) {
    await client.beat();
    await client.patch({ status: SECRET });
  }
  const [ann, bob] = clients;
  await ann.metadata('setChannel', room, 'T', [{ key: 'k', value: SECRET }]);
  const change = { channelName: room, channelType: 'T', data: [{ key: 'k', value: 2 }], options: { majorRevision: 0 } };
  const conflict = await bob.ask('metadata:updateChannel', change);
  assert.equal(conflict.code, 'METADATA_CONFLICT');
  const { fence } = await ann.lock('acquire', room, 'pen', { ttlMs: 30_000 });
  await otlp.adds('lock.held', {}, 1);
  const waiting = bob.lock('acquire', room, 'pen', { waitMs: 10_000 });
  await otlp.adds('lock.waiting', {}, 1);
  await ann.lock('release', room, 'pen', { fence });
  assert.equal((await waiting).ok, true);
  const refused = await bob.ask('presence:heartbeat', { epoch: SECRET });
  assert.equal(refused.code, 'INVALID_PAYLOAD');

  await otlp.adds('presence.connections.active', {}, 4);
  await otlp.adds('presence.users.active', {}, 2);
  await otlp.adds('presence.operation.total', { operation: 'join' }, 4);
  await otlp.adds('presence.operation.total', { operation: 'heartbeat' }, 8);
  await otlp.adds('presence.heartbeat.latency', {}, 8);
  await otlp.adds('presence.operation.duration', { operation: 'metadata.update' }, 1);
  await otlp.adds('presence.error.total', { operation: 'metadata.update', error_type: 'METADATA_CONFLICT' }, 1);
  await otlp.adds('presence.error.total', { error_type: 'INVALID_PAYLOAD' }, 1);
  await otlp.adds('metadata.conflict.total', {}, 1);
  await otlp.adds('presence.event.total', { event_type: 'join' }, 4);
  await otlp.adds('presence.event.total', { event_type: 'update' }, 4);
  await otlp.adds('presence.command.duration', { command: 'heartbeat' }, 4);
  await otlp.adds('lock.wait.duration', { outcome: 'granted' }, 1);
  await otlp.adds('lock.held', {}, 1);
  await otlp.adds('lock.waiting', {}, 0);
  await until('the reaper to count the room', () => otlp.total('presence.rooms.active') === 1);

  await Promise.all(clients.map((client) => client.leave()));
  clients.forEach((client) => client.close());
  await otlp.adds('presence.event.total', { event_type: 'leave' }, 4);
  await otlp.adds('presence.connections.active', {}, 0);
  await otlp.adds('presence.users.active', {}, 0);
  await otlp.adds('lock.held', {}, 0);
  await otlp.adds('presence.connection.duration', { transport: 'websocket' }, 4);

  assert.ok(!otlp.bytes.includes(SECRET), 'a value left by telemetry');
  for (const metric of otlp.metrics.values()) {
    assert.notEqual(metric.description, '', `${metric.name} has no description`);
    assert.notEqual(metric.cumulative, false, `${metric.name} is not cumulative`);
    if (metric.kind === 'histogram' && !OTHER_BOUNDS.includes(metric.name)) {
      assert.equal(metric.unit, 's');
      assert.ok(metric.points[0].bounds.includes(0.05), `${metric.name}: ${metric.points[0].bounds}`);
    }
    for (const { labels } of metric.points) {
      const ids = Object.values(labels).filter((value) => value === room || clients.some((client) => value.includes(client.connId)));
      assert.deepEqual(ids, [], `${metric.name} has an identifier as a label`);
    }
  }
});

metric('every service reports its health', {}, async ({ system, otlp }) => {
  const every = ['bus.lag', 'bus.subscription.deaf', 'redis.up', 'redis.command.duration', 'process.cpu.time', 'process.memory.usage',
    'process.open_file_descriptor.count', 'process.uptime', 'runtime.scheduling.lag', 'runtime.queue.depth', 'runtime.tasks.alive',
    'runtime.busy.ratio', 'telemetry.dropped.total', 'telemetry.queue.depth', 'telemetry.queue.limit'];
  const of = (service) => [...otlp.metrics.values()].filter((metric) => metric.service === service).map((metric) => metric.name);
  for (const service of [GATEWAY, STATE, REAPER]) {
    await until(`${service} to tell everything`, () => {
      const missing = every.filter((name) => !of(service).includes(name));
      if (missing.length) throw new Error(`missing: ${missing}`);
      return true;
    });
  }
  await until('the reaper to tell of its cycles', () => otlp.total('reaper.cycle.duration') > 0);
  await otlp.adds('redis.up', {}, 3);
  await otlp.adds('bus.subscription.deaf', {}, 0);
  const memory = otlp.points('process.memory.usage').map((point) => point.value);
  assert.ok(memory.every((bytes) => bytes > 1e6 && bytes < 1e9), `${memory}`);
  system.redis.pause();
  await otlp.adds('redis.up', {}, 0);
  system.redis.resume();
  await otlp.adds('redis.up', {}, 3);
});

metric('an operation that fails after its client has gone is not an error', {}, async ({ system, room, otlp }) => {
  const [stays, goes] = await system.connectMany(2);
  system.redis.pause();
  for (const client of [goes, stays]) client.socket.emit('presence:join', { roomId: room, userId: 'ann', state: {} }, () => {});
  goes.close();
  await otlp.adds('presence.connections.active', {}, 1);
  await otlp.adds('presence.operation.total', { operation: 'join' }, 2);
  await otlp.adds('presence.error.total', { operation: 'join', error_type: 'UNAVAILABLE' }, 1);
  system.redis.resume();
  assert.equal(await otlp.settles('presence.error.total', { operation: 'join' }), 1);
});

metric('an expired connection is counted', { env: SHORT_LIVES }, async ({ system, room, otlp }) => {
  const [ann, bob] = await system.connectMany(2);
  await ann.join(room, 'ann');
  await bob.join(room, 'bob');
  await otlp.adds('presence.eviction.total', { reason: 'expired' }, 2);
  // What is left is a room that is empty in Redis and has silent clients here: nothing that a newcomer could agree with.
  system.closeClients();
});

metric('connections lost with a gateway are counted', { gateways: 2 }, async ({ system, room, otlp }) => {
  const bob = await system.connect(1);
  await bob.join(room, 'bob');
  system.gateways[1].kill();
  await otlp.adds('presence.eviction.total', { reason: 'node_lost' }, 1, 20_000);
});

metric('a line about a fault of a traced event has its trace', {}, async ({ system, room, otlp }) => {
  const ann = await system.connect(0, { follow: false });
  // A room that cannot be read: its record is of another type.
  await ann.join(room, 'ann', { secret: SECRET });
  const [key] = (await system.redis.keys(ROOM_KEYS)).filter((name) => name.includes(':members:'));
  await system.redis.command('DEL', key);
  await system.redis.command('SET', key, 'no hash');
  const refused = await ann.ask('presence:heartbeat', { patchState: { status: SECRET } });
  assert.equal(refused.code, 'INTERNAL');
  const line = await until('the line to arrive', () => otlp.lines.find((one) => one.service === STATE && one.level === 'ERROR' && one.traceId));
  const span = await otlp.span('of that line', (one) => one.spanId === line.spanId && one.traceId === line.traceId);
  assert.equal(span.name, 'presence.heartbeat');
  await otlp.adds('presence.error.total', { operation: 'heartbeat', error_type: 'INTERNAL' }, 1);
  const written = system.states[0].child.lines.map((text) => JSON.parse(text));
  assert.ok(written.some((record) => record.trace_id === line.traceId && record.message === line.message), 'it is not on stdout');
  assert.ok(!otlp.bytes.includes(SECRET), 'a value left by telemetry');
});

const SMALL_QUEUES = { OTEL_BSP_MAX_QUEUE_SIZE: '64', DEPLOYMENT_ENVIRONMENT: 'development' };

metric('a collector that refuses costs only what is dropped, which is counted', { env: SMALL_QUEUES }, async ({ system, room, otlp }) => {
  const ann = await system.connect();
  await ann.join(room, 'ann');
  otlp.refuses = true;
  for (let beat = 0; beat < 300; beat += 1) await ann.beat();
  const [gateway] = system.gateways;
  // Metrics and logs are exported to the same collector at their own times, and may be refused before the spans are, or never.
  const lines = (message) => gateway.child.lines.filter((line) => line.includes(message) && JSON.parse(line).signal === 'traces');
  const logged = (message) => until(`the gateway to log ${message}`, () => lines(message).length > 0, { within: 30_000 });
  await logged('OTLP export failed');
  otlp.refuses = false;
  await ann.beat();
  await logged('OTLP export recovered');
  await until('what was dropped to be reported', () => otlp.total('telemetry.dropped.total', { signal: 'traces' }) > 100);
  assert.equal(lines('OTLP export failed').length, 1);
});

metric('a collector that never answers delays no answer, and delays the shutdown by at most two seconds', { env: SMALL_QUEUES }, async ({ system, room, otlp }) => {
  const ann = await system.connect();
  otlp.hangs = true;
  await ann.join(room, 'ann');
  for (let beat = 0; beat < 300; beat += 1) await ann.beat();
  ann.close();
  const began = Date.now();
  await Promise.all(system.services.map((service) => service.terminate(9_000)));
  // A gateway without clients is gone at once but for what it still has to send.
  assert.ok(Date.now() - began < 6_000, `the end took ${Date.now() - began} ms`);
});
