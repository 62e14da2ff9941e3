// When Redis is paused, dies, comes back with or without its data, forgets its scripts or drops its subscribers.
import assert from 'node:assert/strict';

import { Load, populate } from '../harness/load.mjs';
import { scenario } from '../harness/scenario.mjs';
import { SHORT_LIVES } from '../harness/system.mjs';
import { holds, sleep, until } from '../harness/until.mjs';

const ROOMS = 6;
const BACK_MS = 5000;

const tryPatch = (member) => member.ask('presence:heartbeat', { patchState: { back: Date.now() } });

// Every member is answered well again, and the room is in order, within 5 s of Redis' return.
async function allBackWithin(members, ms) {
  await Promise.all(members.map((member) => until('a patch to be answered well', async () => (await tryPatch(member)).ok, { within: ms })));
}

function assertNoOneLeft(system, members) {
  for (const service of system.services) assert.ok(service.running, `${service.child.name} has ended`);
  assert.deepEqual(members.flatMap(({ disconnects }) => disconnects), []);
  assert.deepEqual(members.flatMap(({ events }) => events.filter(({ type }) => type === 'leave')), []);
}

async function assertRefused(load, since) {
  const failure = await until('UNAVAILABLE', () => load.failures.find(({ code }) => code === 'UNAVAILABLE'));
  assert.ok(failure.sentAt + failure.ms - since < 2500, `UNAVAILABLE came after ${failure.sentAt + failure.ms - since} ms`);
}

scenario('Redis paused for 5 s: UNAVAILABLE, then everything is back and no one has left', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members, { paceMs: 100 });
  await load.flows(50);
  system.redis.pause();
  const pausedAt = Date.now();
  await assertRefused(load, pausedAt);
  for (const service of system.services) await service.unready({ because: 'redis', within: 4000 });
  await until('plain heartbeats to be refused', async () => (await members[0].ask('presence:heartbeat', {})).code === 'UNAVAILABLE');
  const asked = Date.now();
  const inLine = await Promise.all(Array.from({ length: 5 }, () => tryPatch(members[1])));
  assert.ok(inLine.every(({ code }) => code === 'UNAVAILABLE'), JSON.stringify(inLine));
  assert.ok(Date.now() - asked < 2500, `requests of one socket waited for each other: ${Date.now() - asked} ms`);
  await sleep(Math.max(0, 5000 - (Date.now() - pausedAt))); // the length of the pause is the point
  assert.ok(load.slowestMs() < 2500, `an answer took ${load.slowestMs()} ms`);
  system.redis.resume();

  await allBackWithin(members, BACK_MS);
  await Promise.all(system.services.map((service) => service.ready(BACK_MS)));
  await load.flows(50);
  await load.stop();
  await holds('no leave comes late', () => members.every((member) => member.count({ type: 'leave' }) === 0), { ms: 3000 });
  await load.assertNothingLost();
  assertNoOneLeft(system, members);
});

scenario('Redis killed and restarted with its data: all is as it was', { gateways: 2, states: 2, durable: true }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members, { paceMs: 100 });
  await load.flows(50);
  await system.redis.kill();
  await assertRefused(load, Date.now());
  await system.redis.restart();

  await allBackWithin(members, BACK_MS);
  await load.flows(50);
  await load.stop();
  await load.assertNothingLost();
  await Promise.all(system.services.map((service) => service.ready(BACK_MS)));
  await holds('no leave comes late', () => members.every((member) => member.count({ type: 'leave' }) === 0), { ms: 2000 });
  for (const { roster } of members) assert.equal(roster.members.size, 2);
  assertNoOneLeft(system, members);
});

for (const backAfterMs of [0, 3000]) {
  scenario(`Redis restarted empty after ${backAfterMs} ms: snapshots whole in 5 s, no false leave, epochs grow`, { gateways: 2, states: 2 }, async ({ system, room }) => {
    const members = await populate(system, room, ROOMS);
    const load = new Load(members, { paceMs: 200 });
    await load.flows(30);
    const before = new Map(await Promise.all(members.map(async (member) => [member.connId, (await member.beat()).epoch])));
    const gens = new Set(members.map(({ roster }) => roster.gen));
    await system.redis.kill();
    await sleep(backAfterMs); // how long Redis is away
    await system.redis.restartEmpty();

    const watcher = await system.connect(0);
    const look = async (n) => {
      const answer = await watcher.ask('presence:join', { roomId: `${room}-${n}`, userId: 'watcher' });
      if (answer.ok) await until('to leave', async () => (await watcher.ask('presence:leave')).ok);
      return answer.snapshot?.filter(({ userId }) => userId !== 'watcher') ?? [];
    };
    const started = Date.now();
    for (let n = 0; n < ROOMS; n += 1) {
      const snapshot = await until(`room ${n} to be whole`, async () => {
        const found = await look(n);
        return found.length === 2 && found;
      }, { within: Math.max(0, BACK_MS - (Date.now() - started)) });
      for (const { connId, epoch } of snapshot) assert.ok(epoch >= before.get(connId), `epoch ${epoch} after ${before.get(connId)}`);
    }
    await load.flows(30);
    await load.stop();
    await load.assertNothingLost();
    const { self } = await members[0].join(`${room}-0`, 'user-0', { n: load.answers.length });
    assert.ok(self.epoch > before.get(members[0].connId), 'the epoch of a join has not grown');
    await until('every member to be settled in the new gen', () => members.every(({ roster }) => !roster.unsettled && !gens.has(roster.gen)), { within: BACK_MS });
    for (const { roster } of members) assert.equal(roster.members.size, 2);
    const left = members.flatMap(({ events }) => events.filter(({ type, userId }) => type === 'leave' && userId !== 'watcher'));
    assert.deepEqual(left, []);
    assert.deepEqual(members.flatMap(({ disconnects }) => disconnects), []);
  });
}

scenario('subscribers dropped while events flow: nothing is missing afterwards', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members);
  for (let round = 0; round < 4; round += 1) {
    await load.flows(150, 10_000);
    assert.ok((await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub')) > 0, 'no one was subscribed');
  }
  await load.flows(300, 10_000);
  await Promise.all(system.services.map((service) => service.ready(BACK_MS)));
  await load.stop();
  await load.assertNothingLost();
  await until('every member to be settled', () => members.every(({ roster }) => !roster.unsettled));
  assertNoOneLeft(system, members);
});

scenario('SCRIPT FLUSH in the middle of everything is not noticed', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const members = await populate(system, room, ROOMS);
  const load = new Load(members);
  for (let round = 0; round < 5; round += 1) {
    await load.flows(100);
    await system.redis.command('SCRIPT', 'FLUSH');
    const newcomer = await system.connect(round % 2);
    await newcomer.join(`${room}-extra`, `user-${round}`);
    await newcomer.leave();
  }
  await load.flows(100);
  await load.stop();
  load.assertNoFailures();
  await load.assertNothingLost();
  assertNoOneLeft(system, members);
});

scenario('a leave whose answer is lost is still carried out', {}, async ({ system, room }) => {
  const [leaving, staying] = [await system.connect(0), await system.connect(0)];
  await leaving.join(room, 'leaving');
  await staying.join(room, 'staying');
  system.redis.pause();
  const answer = leaving.ask('presence:leave');
  await sleep(1650); // longer than a command may take, shorter than a request
  system.redis.resume();
  assert.equal((await answer).ok, true);
  await staying.sees(['staying']);
  assert.equal((await leaving.ask('presence:heartbeat', {})).code, 'NOT_JOINED');
  await holds('no one restores it', () => staying.roster.members.size === 1, { ms: 2000 });
});

scenario('a Redis that hung for longer than a TTL: an immediate join evicts no live member', { env: SHORT_LIVES }, async ({ system, room }) => {
  await Promise.all(system.reapers.map((reaper) => reaper.kill()));
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  watcher.pulse();
  const guest = await system.connect(0);
  system.redis.pause();
  await sleep(Number(SHORT_LIVES.PRESENCE_TTL_MS) + 1000);
  system.redis.resume();
  const joined = await until('the guest to be let in', async () => {
    const answer = await guest.ask('presence:join', { roomId: room, userId: 'guest' });
    return answer.ok && answer;
  }, { within: 10_000, every: 20 });
  assert.deepEqual(joined.snapshot.map(({ userId }) => userId).sort(), ['guest', 'watcher']);
  await holds('the watcher stays', () => guest.count({ type: 'leave' }) === 0, { ms: 1000 });
});
