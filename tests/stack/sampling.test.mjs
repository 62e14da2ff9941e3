// What is kept at production's 10 %: every failure, every refused join, everything slow, and about a tenth of the rest, to which
// refusals belong.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Stack } from '../harness/stack.mjs';
import { System } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';

const JOIN = 'socket presence:join';
const READ = 'socket metadata:getChannel';
const READS = 600;
// Five standard deviations on either side of a tenth.
const [FEWEST, MOST] = [24, 96];

let stack;
let system;

before(async () => {
  stack = await Stack.start();
  system = await System.start({ env: { ...stack.env, DEPLOYMENT_ENVIRONMENT: 'production' } });
});

after(async () => {
  await system?.close();
  await stack?.close();
});

test('refused joins are all kept and found by their code, with what went wrong', async () => {
  const ann = await system.connect();
  await ann.join('home', 'ann');
  const REFUSED = 12; // all of them at 10 %: one chance in 10^12
  for (let n = 0; n < REFUSED; n += 1) {
    const answer = await ann.ask('presence:join', { roomId: `elsewhere-${n}`, userId: 'ann' });
    assert.equal(answer.code, 'ROOM_CONFLICT');
  }
  const found = await until('Jaeger to have every refused join', async () => {
    const traces = await stack.jaeger.traces({ operation: JOIN, tags: { 'error.type': 'ROOM_CONFLICT' }, limit: 50 });
    return traces.length === REFUSED && traces;
  }, { within: 30_000, every: 300 });
  for (const spans of found) {
    const span = spans.find(({ name }) => name === JOIN);
    assert.equal(span.tags['error.type'], 'ROOM_CONFLICT', JSON.stringify(span.tags));
    assert.ok(span.logs.some(({ event }) => event === 'exception'), JSON.stringify(span.logs));
  }
});

test('events that a client got wrong are kept like any others, about a tenth', async () => {
  const client = await system.connect();
  const WRONG = 600;
  for (let n = 0; n < WRONG; n += 1) assert.equal((await client.ask('presence:heartbeat', { epoch: -1 })).code, 'INVALID_PAYLOAD');
  const marker = await system.connect();
  await system.redis.command('CLIENT', 'PAUSE', '250', 'ALL');
  await marker.join('the-end-of-wrong', 'wrong-marker');
  await stack.jaeger.find('the last trace', { tags: { 'presence.user_id': 'wrong-marker' }, operation: JOIN });
  const kept = await stack.jaeger.traces({ tags: { 'error.type': 'INVALID_PAYLOAD' }, limit: 1500 });
  assert.ok(kept.length > 0 && kept.length <= MOST, `${kept.length} of ${WRONG} were kept`);
});

test('slow joins are all kept and found by their duration', async () => {
  const SLOW = 4;
  const first = await system.connect();
  await first.join('slow', 'first'); // the room is subscribed already: a join only waits for its request
  for (let n = 0; n < SLOW; n += 1) {
    const client = await system.connect();
    await system.redis.command('CLIENT', 'PAUSE', '250', 'ALL');
    await client.join('slow', `slow-${n}`);
  }
  const isOf = (spans, user) => spans.some(({ tags }) => tags['presence.user_id'] === user);
  for (let n = 0; n < SLOW; n += 1) {
    const query = { operation: JOIN, minDuration: '100ms', limit: 50 };
    const spans = await stack.jaeger.find(`the slow join ${n}`, query, (trace) => isOf(trace, `slow-${n}`));
    // The cause is in the trace: the time went by while Redis was asked to publish.
    const publish = spans.find(({ name }) => name === 'publish presence.commands');
    assert.ok(publish.durationMs > 100, `${publish.durationMs} ms`);
  }
});

test('of the rest, about a tenth', async () => {
  const client = await system.connect();
  for (let n = 0; n < READS; n += 1) await client.metadata('getChannel', `channel-${n}`, 'T');
  // The last ones kept are recognized by their neighbours: what is decided later is found later.
  const marker = await system.connect();
  await system.redis.command('CLIENT', 'PAUSE', '250', 'ALL');
  await marker.join('the-end', 'marker');
  await stack.jaeger.find('the last trace', { tags: { 'presence.user_id': 'marker' }, operation: JOIN });
  const kept = await stack.jaeger.traces({ operation: READ, maxDuration: '90ms', limit: 1500 });
  assert.ok(kept.length >= FEWEST && kept.length <= MOST, `${kept.length} of ${READS} were kept`);
});

test('dropped traces are still counted', async () => {
  const calls = `sum(traces_span_metrics_calls_total{span_name="${READ}"}) >= ${READS}`;
  await stack.prometheus.has(calls);
});
