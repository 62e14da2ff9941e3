// Sixty members in rooms of three, one on each of three gateways, each with a lock in a room that is not its own; and what
// must be true of them whatever Redis went through.
import assert from 'node:assert/strict';

import { locksKey } from './keys.mjs';
import { until } from './until.mjs';

const ROOMS = 20;
const LOCK_MS = 120_000;

export class Crowd {
  static OPTIONS = { gateways: 3, states: 2, reapers: 2, durable: true };

  // The system has three gateways.
  static async gather(system, room) {
    const crowd = new Crowd(system, room);
    crowd.members = await system.connectMany(3 * ROOMS);
    await Promise.all(crowd.members.map((member, index) => member.join(crowd.room(index), `user-${index}`, { n: 0 })));
    crowd.fences = await Promise.all(crowd.members.map(async (member, index) => {
      const answer = await member.lock('acquire', crowd.room(index + 3), `pen-${index}`, { ttlMs: LOCK_MS });
      assert.equal(answer.ok, true, JSON.stringify(answer));
      return answer.fence;
    }));
    await until('everyone to see everyone', () => crowd.members.every(({ roster }) => roster.members.size === 3));
    return crowd;
  }

  // Whether anyone was told that a member left.
  get anyoneLeft() {
    return this.members.some(({ events }) => events.some(({ type, userId }) => type === 'leave' && userId !== 'newcomer'));
  }

  constructor(system, room) {
    this.system = system;
    this.name = room;
  }

  room(index) {
    return `${this.name}-${Math.floor(index / 3) % ROOMS}`;
  }

  // Every member's patch is answered well; `n` is what its state says since.
  async patch(n, within = 20_000) {
    await Promise.all(this.members.map((member) => until('a patch to be answered well', async () => {
      const answer = await member.ask('presence:heartbeat', { patchState: { n } });
      if (!answer.ok) throw new Error(JSON.stringify(answer));
      return true;
    }, { within, every: 250 })));
  }

  // No one was told anything false: no leave, no disconnect, no member missing, every lock where it was.
  async assertUnharmed({ locks = true } = {}) {
    const told = this.members.flatMap(({ events }) => events.filter(({ type, userId }) => type === 'leave' && userId !== 'newcomer'));
    assert.deepEqual(told.map(({ userId, reason }) => `${userId} ${reason}`), [], 'leaves of members who were there all the time');
    assert.deepEqual(this.members.flatMap(({ disconnects }) => disconnects), []);
    for (const { roster } of this.members) assert.equal(roster.members.size, 3);
    if (!locks) return;
    for (const [index, member] of this.members.entries()) {
      const renewed = await member.lock('renew', this.room(index + 3), `pen-${index}`, { fence: this.fences[index], ttlMs: LOCK_MS });
      assert.equal(renewed.ok, true, `lock of user-${index}: ${JSON.stringify(renewed)}; ${await this.system.redis.command('HLEN', locksKey(this.room(index + 3)))} locks there`);
    }
  }
}
