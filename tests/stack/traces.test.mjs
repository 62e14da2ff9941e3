// What the person on call finds in Jaeger: one join as one trace, by whom, where, what and how long.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Stack } from '../harness/stack.mjs';
import { GATEWAY, STATE, System } from '../harness/system.mjs';

const JOIN = 'socket presence:join';

let stack;
let system;
let trace; // of ann's join

before(async () => {
  stack = await Stack.start({ collector: { COLLECTOR_SAMPLE_PERCENT: '100' } });
  system = await System.start({ gateways: 2, states: 2, env: { ...stack.env, DEPLOYMENT_ENVIRONMENT: 'development' } });
  const bob = await system.connect(1);
  await bob.join('stage', 'bob');
  const ann = await system.connect(0);
  await ann.join('stage', 'ann');
  await bob.receives({ type: 'join', userId: 'ann' });
  trace = await stack.jaeger.find('the join of ann, whole', { operation: JOIN, tags: { 'presence.user_id': 'ann' } },
    (spans) => spans.some(({ name }) => name === 'deliver presence.events'));
});

after(async () => {
  await system?.close();
  await stack?.close();
});

const parentOf = (span) => trace.find(({ spanId }) => spanId === span.parentId);

function path(span) {
  const names = [];
  for (let at = span; at; at = parentOf(at)) names.unshift(`${at.service}: ${at.name}`);
  return names;
}

const spanNamed = (name) => trace.find((span) => span.name === name) ?? assert.fail(`no ${name} among ${trace.map((span) => span.name).join()}`);

test('one join of two members on two gateways is one trace over all services, with the right parents', async () => {
  const orphans = trace.filter((span) => span.parentId && !parentOf(span));
  assert.deepEqual(orphans.map(({ name }) => name), []);
  assert.deepEqual(trace.filter(({ parentId }) => !parentId).map(({ name, service }) => `${service}: ${name}`), [`${GATEWAY}: ${JOIN}`]);
  const inState = path(spanNamed('presence.join'));
  assert.equal(inState[0], `${GATEWAY}: ${JOIN}`);
  assert.equal(inState.at(-1), `${STATE}: presence.join`);
  assert.ok(path(spanNamed('EVALSHA presence_join')).includes(`${STATE}: presence.join`), 'the script is not below presence.join');
  const instances = await Promise.all(system.gateways.map(async (gateway) => (await gateway.get('/version')).body.instance));
  const gateways = new Set(trace.filter(({ service }) => service === GATEWAY).map(({ resource }) => resource['service.instance.id']));
  assert.deepEqual([...gateways].sort(), instances.sort());
  const deliveries = trace.filter(({ name }) => name === 'deliver presence.events');
  for (const delivery of deliveries) assert.ok(path(delivery).some((step) => step.startsWith(STATE)), path(delivery).join(' > '));
});

test('it is found by user, by room, by operation and duration', async () => {
  const { traceId } = trace[0];
  const isIt = (spans) => spans[0].traceId === traceId;
  await stack.jaeger.find('it by its user', { tags: { 'presence.user_id': 'ann' } }, isIt);
  await stack.jaeger.find('it by its room', { tags: { 'presence.room_id': 'stage' } }, isIt);
  await stack.jaeger.find('it by the room in presence-state', { service: STATE, tags: { 'presence.room_id': 'stage' } }, isIt);
  const ms = trace.find(({ name }) => name === JOIN).durationMs;
  const around = { operation: JOIN, minDuration: `${Math.floor(ms * 900)}us`, maxDuration: `${Math.ceil(ms * 1100)}us` };
  await stack.jaeger.find('it by operation and duration', around, isIt);
  const slower = await stack.jaeger.traces({ operation: JOIN, minDuration: '30s' });
  assert.deepEqual(slower, []);
});

// The question of the link that `./dev up --observe` prints.
test('the newest join is the first to be found', async () => {
  for (const user of ['carl', 'dora']) {
    const client = await system.connect(0);
    await client.join('foyer', user);
    await stack.jaeger.find(`the join of ${user}`, { operation: JOIN, limit: 1 },
      (spans) => spans.some(({ tags }) => tags['presence.user_id'] === user));
  }
});
