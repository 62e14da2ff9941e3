// When presence-states die: a single one costs at most a retry; without any, requests are answered UNAVAILABLE.
import assert from 'node:assert/strict';

import { Load, populate } from '../harness/load.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, until } from '../harness/until.mjs';

// One request may wait for the deadline of the bus (2 s) before it is sent again.
const ONE_RETRY_MS = 3500;
const ROOMS = 12;

function assertNoOneLeft(members) {
  assert.deepEqual(members.flatMap(({ disconnects }) => disconnects), []);
  assert.deepEqual(members.flatMap(({ events }) => events.filter(({ type }) => type === 'leave')), []);
}

scenario('kill -9 of one state under load is at most one retry', { gateways: 2, states: 3 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members);
  for (const victim of [0, 1]) {
    await load.flows(200);
    await system.states[victim].kill();
  }
  await load.flows(500);
  await load.stop();
  load.assertNoFailures();
  assert.ok(load.slowestMs() < ONE_RETRY_MS, `the slowest answer took ${load.slowestMs()} ms`);
  await load.assertNothingLost();
  assertNoOneLeft(members);
});

scenario('requests that die with their presence-state are sent again', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  // Paused, it still receives what it will never answer; which rooms it serves is not ours to know.
  system.states[0].pause();
  const sentAt = Date.now();
  const patches = members.map((member) => member.patch({ n: 1 }));
  await until('what the other state serves to be answered', () => members.some(({ roster }) => [...roster.members.values()].some(({ state }) => state.n === 1)));
  await system.states[0].kill();
  const answers = await Promise.all(patches);
  assert.ok(Date.now() - sentAt < ONE_RETRY_MS, `the last answer took ${Date.now() - sentAt} ms`);
  assert.ok(answers.every(({ changed }) => changed));
  const all = () => members.every(({ roster }) => [...roster.members.values()].every(({ state }) => state.n === 1));
  await until('every patch to be seen by everyone', all);
  assertNoOneLeft(members);
});

scenario('SIGTERM of one presence-state under load is not noticed', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members);
  await load.flows(200);
  assert.deepEqual(await system.states[0].terminate(), { code: 0, signal: null });
  await load.flows(200);
  await system.addState();
  await load.flows(200);
  await load.stop();
  load.assertNoFailures();
  assert.ok(load.slowestMs() < 1500, `the slowest answer took ${load.slowestMs()} ms`);
  await load.assertNothingLost();
  assertNoOneLeft(members);
});

scenario('a state that joins takes rooms without harm', { gateways: 2, states: 1 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members);
  await load.flows(200);
  await Promise.all([system.addState(), system.addState()]);
  await load.flows(400);
  await system.states[0].kill();
  await load.flows(200);
  await load.stop();
  load.assertNoFailures();
  await load.assertNothingLost();
});

scenario('without any state: UNAVAILABLE within 2 s, sockets stay, healthy within 1 s of a return', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await populate(system, room, 3);
  const load = new Load(members, { paceMs: 100 });
  await load.flows(50);
  await Promise.all(system.states.map((state) => state.kill()));
  const deadAt = Date.now();

  const refusedFrom = await until('UNAVAILABLE', () => load.failures.find(({ code }) => code === 'UNAVAILABLE'));
  assert.ok(refusedFrom.sentAt + refusedFrom.ms - deadAt < 2500, 'UNAVAILABLE came too late');
  for (const gateway of system.gateways) {
    const { checks } = await gateway.unready({ because: 'presence-state', within: 5000 });
    assert.equal(checks.redis, 'ok');
  }
  assert.equal((await members[0].beat()).ok, true, 'the gateway answers for its own connections');
  const newcomer = await system.connect(0);
  assert.equal((await newcomer.ask('presence:join', { roomId: room, userId: 'new' })).code, 'UNAVAILABLE');
  await holds('every answer is a refusal', () => load.answers.every(({ sentAt, code }) => sentAt < deadAt || code !== null), { ms: 1000 });
  assert.deepEqual([...new Set(load.failures.filter(({ sentAt }) => sentAt > deadAt).map(({ code }) => code))], ['UNAVAILABLE']);
  assert.ok(load.slowestMs() < 2500, `an answer took ${load.slowestMs()} ms`);

  await system.addState();
  const backAt = Date.now();
  await until('all to be well again', async () => (await members[0].ask('presence:heartbeat', {})).ok && (await members[1].ask('presence:heartbeat', {})).ok);
  await Promise.all(members.map((member) => until('a patch', async () => (await member.ask('presence:heartbeat', { patchState: { back: true } })).ok)));
  assert.ok(Date.now() - backAt < 2000, `it took ${Date.now() - backAt} ms after the return`);
  for (const gateway of system.gateways) await gateway.ready();
  await newcomer.join(room, 'new');
  await load.stop();
  await load.assertNothingLost();
  assertNoOneLeft(members);
});
