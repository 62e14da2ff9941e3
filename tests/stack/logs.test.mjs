// The path of a log line: from a service through the real collector with otel-collector.yaml to whatever takes OTLP at
// LOKI_URL. A receiver of OTLP stands in for Loki, so that it is proven where Loki is missing.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { membersKey } from '../harness/keys.mjs';
import { FIELDS, INDEXED, LABELS, inLoki } from '../harness/log-fields.mjs';
import { OtlpReceiver } from '../harness/otlp.mjs';
import { Stack } from '../harness/stack.mjs';
import { STATE, System } from '../harness/system.mjs';
import { holds, until } from '../harness/until.mjs';

const SECRET = 'hunter2-never-in-a-log';
const ROOM = 'broken-room';
const MEMBERS = membersKey(ROOM); // of another type
const EXPORTER = 'otlp_http/loki';
// Time and room as in otel-collector.yaml, but so little of both that a test sees them end.
const SOON = JSON.stringify({ exporters: { [EXPORTER]: {
  timeout: '1s', retry_on_failure: { initial_interval: '100ms', max_interval: '300ms', max_elapsed_time: '2s' },
  sending_queue: { queue_size: 30, batch: { flush_timeout: '100ms', min_size: 1, max_size: 5 } },
} } });

// Each heartbeat is traced, as each join is in any environment.
const TRACED = { DEPLOYMENT_ENVIRONMENT: 'staging', HEARTBEAT_SAMPLE_RATIO: '1' };

let sink;
let stack;
let system;
let ann;

before(async () => {
  sink = await OtlpReceiver.start();
  stack = await Stack.start({ logs: sink.url, config: SOON, collector: { COLLECTOR_SAMPLE_PERCENT: '100' } });
  system = await System.start({ gateways: 0, states: 0, reapers: 0, env: { ...stack.env, ...TRACED } });
  await system.redis.command('ACL', 'SETUSER', 'services', 'on', `>${SECRET}`, '~*', '&*', '+@all');
  system.env.REDIS_URL = system.redis.url.replace('//', `//services:${SECRET}@`);
  await system.addState();
  await Promise.all([system.addReaper(), system.addGateway()]);

  ann = await system.connect(0, { auth: { token: SECRET } });
  await ann.metadata('setChannel', ROOM, 'T', [{ key: 'k', value: SECRET }]);
  await system.redis.command('SET', MEMBERS, 'no hash');
});

after(async () => {
  await system?.close();
  await stack?.close();
  sink?.close();
});

// Makes presence-state log an error inside a trace. Members of such a room would be disconnected when it is read again.
async function fail() {
  const { code } = await ann.ask('presence:join', { roomId: ROOM, userId: 'ann', state: { status: SECRET, at: Date.now() } });
  assert.equal(code, 'INTERNAL');
}

const isFault = (line) => line.service === STATE && line.message === 'command failed';

async function aFault() {
  await fail();
  return sink.line('about the fault', isFault);
}

test('a line arrives with the body and severity that stdout has', async () => {
  const line = await aFault();
  assert.deepEqual([line.level, line.severity], ['ERROR', 17]);
  const written = system.states[0].child.lines.map((text) => JSON.parse(text)).find((record) =>
    record.span_id === line.spanId && record.trace_id === line.traceId && record.message === line.message);
  const { level, room, command, error } = written;
  assert.deepEqual({ level: line.level, ...line.attributes }, { level, room, command, error });
  assert.deepEqual([room, command], [ROOM, 'presence.join']);
  const info = await sink.line('about the start', ({ service, message: body }) => service === STATE && body === 'listening');
  assert.deepEqual([info.level, info.severity, info.traceId], ['INFO', 9, '']);
});

test('its trace opens in Jaeger, and has its span', async () => {
  const { traceId, spanId } = await aFault();
  const trace = await until(`trace ${traceId}`, () => stack.jaeger.trace(traceId), { within: 30_000, every: 300 });
  const span = trace.find((one) => one.spanId === spanId);
  assert.equal(span?.name, 'presence.join', JSON.stringify(trace.map(({ name }) => name)));
});

test('each line has the attributes of which Loki makes labels, and no others that would become one', async () => {
  await aFault();
  const instances = await Promise.all(system.services.map(async (service) => (await service.get('/version')).body.instance));
  for (const { resource, service } of sink.lines) {
    assert.deepEqual(Object.keys(resource).filter((name) => INDEXED.includes(name)).map(inLoki).sort(), [...LABELS].sort(), service);
    assert.ok(instances.includes(resource['service.instance.id']), JSON.stringify(resource));
    assert.deepEqual([resource['service.namespace'], resource['deployment.environment.name']], ['rollcall', 'staging']);
  }
});

test('each field that the documentation names is in a line', async () => {
  await aFault();
  const found = new Set(sink.lines.flatMap(({ resource, attributes, level, severity, traceId, spanId }) => [
    ...Object.keys(resource).map(inLoki), ...Object.keys(attributes).map(inLoki),
    level && 'severity_text', severity && 'severity_number', traceId && 'trace_id', spanId && 'span_id',
  ]));
  assert.ok(FIELDS.length > 5);
  assert.deepEqual(FIELDS.filter((name) => !found.has(name)), []);
});

test('nothing secret is in a line, not even while Redis is away', async () => {
  await aFault();
  system.redis.pause();
  try {
    await sink.line('about Redis', ({ message }) => message.startsWith('Redis does not answer'), 20_000);
  } finally {
    system.redis.resume();
  }
  await Promise.all(system.services.map((service) => service.ready(30_000)));
  await fail();
  assert.ok(sink.bytes.includes('command failed') && !sink.bytes.includes(SECRET), 'a secret was exported');
});

const total = (result) => result.reduce((sum, { value }) => sum + Number(value[1]), 0);
const counted = async (name) => total(await stack.prometheus.query(`${name}{exporter="${EXPORTER}"}`));
const SEND_FAILED = 'otelcol_exporter_send_failed_log_records_total';
const QUEUE_FULL = 'otelcol_exporter_enqueue_failed_log_records_total';

// What must go on while the store of logs is in trouble: requests, their traces, and the metrics.
async function allElseWorks(room) {
  const client = await system.connect(0);
  const began = Date.now();
  await client.join(room, 'ben');
  for (let n = 0; n < 20; n += 1) assert.equal((await client.patch({ n })).changed, true);
  assert.ok(Date.now() - began < 5000, 'requests became slow');
  const join = { operation: 'socket presence:join', tags: { 'presence.room_id': room } };
  await stack.jaeger.find(`the join in ${room}`, join);
  await stack.prometheus.has(`presence_connections_active >= 2 and timestamp(presence_connections_active) > ${began / 1000}`);
  assert.equal(total(await stack.prometheus.query('telemetry_dropped_total{signal="traces"}')), 0, 'a service lost spans');
  client.close();
}

const TROUBLES = {
  refuses: { begin: () => { sink.refuses = true; }, end: () => { sink.refuses = false; } },
  hangs: { begin: () => { sink.hangs = true; }, end: () => { sink.hangs = false; } },
  'is gone': { begin: () => sink.close(), end: () => sink.listen(sink.port) },
};

for (const [trouble, { begin, end }] of Object.entries(TROUBLES)) {
  test(`a store of logs that ${trouble} harms nothing, and what it loses is counted`, async () => {
    const before = await counted(SEND_FAILED);
    await begin();
    try {
      await fail();
      await until('the loss to be counted', async () => (await counted(SEND_FAILED)) > before, { within: 30_000, every: 300 });
      await allElseWorks(`while-it-${trouble.replace(' ', '-')}`);
    } finally {
      await end();
    }
    sink.lines.length = 0;
    await until('lines to arrive again', async () => {
      await fail();
      return sink.lines.some(isFault);
    }, { within: 20_000, every: 300 });
  });
}

test('a queue that is full drops the newest lines, and counts them', async () => {
  const before = await counted(QUEUE_FULL);
  sink.hangs = true;
  try {
    await until('the queue to be full', async () => {
      for (let n = 0; n < 20; n += 1) await fail();
      return (await counted(QUEUE_FULL)) > before;
    }, { within: 30_000, every: 100 });
    await allElseWorks('while-the-queue-is-full');
  } finally {
    sink.hangs = false;
  }
});

test('without Loki the collector accepts lines, retries nothing, and logs nothing about it', async () => {
  const alone = await Stack.start({ collector: { COLLECTOR_LOGS_EXPORTER: 'nop' } });
  const services = await System.start({ env: alone.env });
  try {
    await alone.prometheus.has('sum(otelcol_receiver_accepted_log_records_total) >= 3');
    await alone.prometheus.has('otelcol_exporter_sent_metric_points_total{exporter="otlp_http/prometheus"}');
    await holds('nothing goes to Loki', async () => (await alone.prometheus.query('{exporter=~".*loki.*"}')).length === 0, { ms: 3000, every: 500 });
    assert.deepEqual(alone.collector.child.lines.filter((line) => /loki|dropp|retry/i.test(line)), []);
    assert.equal(total(await alone.prometheus.query('telemetry_dropped_total')), 0, 'a service lost telemetry');
  } finally {
    await services.close();
    await alone.close();
  }
});
