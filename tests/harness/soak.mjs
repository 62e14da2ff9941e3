// The soak: sixty members in rooms of three, one on each of three gateways, each with a lock in a room that is not its own; and what
// must hold for them, whatever happened to Redis.
import assert from 'node:assert/strict';

import { locksKey } from './keys.mjs';
import { until } from './until.mjs';

const ROOMS = 20;
const LOCK_MS = 120_000;

export class Soak {
  static OPTIONS = { gateways: 3, states: 2, reapers: 2, durable: true };

  // The system has three gateways.
  static async start(system, room) {
    const soak = new Soak(system, room);
    soak.members = await system.connectMany(3 * ROOMS);
    await Promise.all(soak.members.map((member, index) => member.join(soak.room(index), `user-${index}`, { n: 0 })));
    soak.fences = await Promise.all(soak.members.map(async (member, index) => {
      const answer = await member.lock('acquire', soak.room(index + 3), `pen-${index}`, { ttlMs: LOCK_MS });
      assert.equal(answer.ok, true, JSON.stringify(answer));
      return answer.fence;
    }));
    await until('everyone to see everyone', () => soak.members.every(({ roster }) => roster.members.size === 3));
    return soak;
  }

  // Whether anyone was sent a leave of a member.
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

  // Every member's patch succeeds; `n` is the value in its state from then on.
  async patch(n, within = 20_000) {
    await Promise.all(this.members.map((member) => until('a patch to be answered well', async () => {
      const answer = await member.ask('presence:heartbeat', { patchState: { n } });
      if (!answer.ok) throw new Error(JSON.stringify(answer));
      return true;
    }, { within, every: 250 })));
  }

  // No false leave, no disconnect, no missing member, every lock still held.
  async assertUnharmed({ locks = true } = {}) {
    const leaves = this.members.flatMap(({ events }) => events.filter(({ type, userId }) => type === 'leave' && userId !== 'newcomer'));
    assert.deepEqual(leaves.map(({ userId, reason }) => `${userId} ${reason}`), [], 'leaves of members who were there all the time');
    assert.deepEqual(this.members.flatMap(({ disconnects }) => disconnects), []);
    for (const { roster } of this.members) assert.equal(roster.members.size, 3);
    if (!locks) return;
    for (const [index, member] of this.members.entries()) {
      const renewed = await member.lock('renew', this.room(index + 3), `pen-${index}`, { fence: this.fences[index], ttlMs: LOCK_MS });
      assert.equal(renewed.ok, true, `lock of user-${index}: ${JSON.stringify(renewed)}; ${await this.system.redis.command('HLEN', locksKey(this.room(index + 3)))} locks there`);
    }
  }
}
