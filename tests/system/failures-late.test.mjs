// What was given up does not happen later, wherever it waited: a request carries its deadline to the script that would carry it
// out.
import assert from 'node:assert/strict';

import { storedMembers } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, sleep, until } from '../harness/until.mjs';

const TYPE = 'T';
// Longer than the deadline of any request (1.8 s), and than the time limit of a command to Redis.
const HANG_MS = 3000;

// Writes of many members at once, each with a value of its own, and another member that hears what became of them.
class Flood {
  answered = 0;

  static async begin(system, room) {
    const observer = await system.connect(0, { follow: false });
    await observer.join(room, 'observer');
    const writers = await system.connectMany(10, { follow: false });
    const flood = new Flood(room, observer, writers);
    await until('the first writes to be answered', () => flood.answered >= 20, { every: 1 });
    return flood;
  }

  constructor(room, observer, writers) {
    this.room = room;
    this.observer = observer;
    this.writers = writers;
    this.writes = writers.flatMap((writer, index) => Array.from({ length: 50 }, async (_, n) => {
      const value = `old ${index} ${n}`;
      const answer = await this.write(writer, value);
      this.answered += 1;
      return { value, code: answer.code, at: Date.now() };
    }));
  }

  write(writer, value) {
    return writer.ask('metadata:setChannel', { channelName: this.room, channelType: TYPE, data: [{ key: 'k', value }] });
  }

  // Resolves when each write was answered; some were given up.
  async end() {
    this.results = await Promise.all(this.writes);
    const codes = new Set(this.results.map(({ code }) => code));
    assert.ok(codes.has('TIMEOUT') || codes.has('UNAVAILABLE'), [...codes].join());
  }

  // No write was carried out, by Redis' clock, after it was answered that it was not, or that no one knows.
  assertNothingLate() {
    const answeredAt = new Map(this.results.map(({ value, at }) => [value, at]));
    const heard = this.observer.changes.flatMap(({ timestamp, items }) => items.map(({ value }) => ({ timestamp, value })));
    const old = heard.filter(({ value }) => answeredAt.has(value));
    assert.ok(old.length >= 20 && old.every(({ timestamp }) => timestamp > 0), 'the observer heard nothing');
    assert.deepEqual(old.filter(({ timestamp, value }) => timestamp > answeredAt.get(value)), [], 'writes were carried out after they were given up');
  }
}

scenario('a presence-state that hangs in the middle of its work carries out nothing of it when it continues', { gateways: 1, states: 2 }, async ({ system, room }) => {
  const flood = await Flood.begin(system, room);
  for (const state of system.states) state.pause();
  await flood.end();
  // One of them continues at once and serves everyone; the other one is late.
  system.states[1].resume();
  const newer = await until('a newer write to be answered well', async () => {
    const answer = await flood.write(flood.writers[0], 'newer');
    return answer.ok && answer;
  }, { within: 15_000, every: 200 });
  await sleep(HANG_MS); // the other one hangs for longer than any deadline
  system.states[0].resume();
  await holds('the newer write stands', async () => {
    const { metadata, majorRevision } = await flood.writers[0].metadata('getChannel', room, TYPE);
    return metadata.k.value === 'newer' && majorRevision === newer.majorRevision;
  }, { ms: 4000, every: 100 });
  flood.assertNothingLate();
}, { within: 60_000 });

scenario('a Redis that hangs in the middle of its work carries out nothing of it when it continues', { gateways: 1, states: 2 }, async ({ system, room }) => {
  const flood = await Flood.begin(system, room);
  system.redis.pause();
  const pausedAt = Date.now();
  await flood.end();
  await sleep(Math.max(0, HANG_MS - (Date.now() - pausedAt)));
  system.redis.resume();
  const newer = await until('a newer write to be answered well', async () => {
    const answer = await flood.write(flood.writers[0], 'newer');
    return answer.ok && answer;
  }, { within: 15_000, every: 100 });
  await holds('the newer write stands', async () => {
    const { metadata, majorRevision } = await flood.writers[0].metadata('getChannel', room, TYPE);
    return metadata.k.value === 'newer' && majorRevision === newer.majorRevision;
  }, { ms: 3000, every: 100 });
  flood.assertNothingLate();
}, { within: 60_000 });

scenario('what is asked while Redis hangs is refused and does not happen when it continues', { gateways: 1, states: 2 }, async ({ system, room }) => {
  const member = await system.connect();
  const newcomer = await system.connect();
  await member.join(room, 'member', { n: 'before' });
  await member.metadata('setChannel', room, TYPE, [{ key: 'k', value: 'before' }]);
  system.redis.pause();
  const pausedAt = Date.now();
  const channel = { channelName: room, channelType: TYPE };
  // The client keeps what it was answered, and not what it asked for.
  const answers = await Promise.all([
    member.ask('presence:heartbeat', { patchState: { n: 'while it hangs' } }),
    member.ask('metadata:setChannel', { ...channel, data: [{ key: 'k', value: 'while it hangs' }] }),
    member.lock('acquire', room, 'pen'),
    newcomer.ask('presence:join', { roomId: room, userId: 'newcomer' }),
  ]);
  for (const { ok, code } of answers) assert.ok(!ok && ['UNAVAILABLE', 'TIMEOUT'].includes(code), `answered ${ok} ${code}`);
  await sleep(Math.max(0, HANG_MS - (Date.now() - pausedAt)));
  system.redis.resume();
  await until('Redis to be asked again', async () => (await member.ask('metadata:getChannel', channel)).ok, { within: 10_000, every: 50 });
  await holds('nothing of it happens', async () => {
    const members = [...(await storedMembers(system.redis, room)).values()];
    const { metadata } = await member.metadata('getChannel', room, TYPE);
    const { locks } = await member.lock('get', room, undefined);
    return members.length === 1 && members[0].state.n === 'before' && metadata.k.value === 'before' && locks.length === 0;
  }, { ms: 3000, every: 100 });
  assert.equal(member.count({ type: 'join', userId: 'newcomer' }), 0, 'the newcomer was announced');
  await member.patch({ n: 'after' });
}, { within: 60_000 });
