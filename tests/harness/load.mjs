// A steady load while something is broken: every client patches its own state over and over. What was answered, when
// and how fast is kept, and in the end every roster must show the last patch that was accepted of everyone.
import assert from 'node:assert/strict';

import { sleep, until } from './until.mjs';

const PACE_MS = 20;

export class Load {
  answers = []; // {client, n, sentAt, ms, code}: the code is null when all was well
  #running = true;
  #loops;

  // The clients have joined their rooms already.
  constructor(clients, { paceMs = PACE_MS } = {}) {
    this.clients = clients;
    this.paceMs = paceMs;
    this.#loops = clients.map((client) => this.#patchOverAndOver(client));
    for (const loop of this.#loops) loop.catch(() => {}); // reported by stop()
  }

  get failures() {
    return this.answers.filter(({ code }) => code !== null);
  }

  slowestMs() {
    return Math.max(...this.answers.map(({ ms }) => ms));
  }

  // Resolves once `count` more patches have been answered well: proof that the load flows.
  async flows(count = 50, within) {
    const well = () => this.answers.length - this.failures.length;
    const goal = well() + count;
    await until(`${count} more patches to be answered well`, () => well() >= goal, { within });
  }

  async stop() {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  // Every member of a room shows of every other the state that was accepted last.
  async assertNothingLost() {
    const last = new Map();
    for (const { client, n, code } of this.answers) if (code === null) last.set(client.connId, n);
    await until('every roster to show the last accepted patches', () => {
      for (const { connId, roster } of this.clients) {
        for (const [member, { state }] of roster.members) {
          if (!last.has(member)) continue;
          if (!(state.n >= last.get(member))) throw new Error(`${connId} shows ${member} at ${state.n}, not ${last.get(member)}`);
        }
      }
      return true;
    }, { within: 8000 });
  }

  assertNoFailures() {
    assert.deepEqual(this.failures.map(({ code, n, ms }) => ({ code, n, ms })), []);
  }

  async #patchOverAndOver(client) {
    for (let n = 1; this.#running; n += 1) {
      const sentAt = Date.now();
      const answer = await client.ask('presence:heartbeat', { patchState: { n } });
      this.answers.push({ client, n, sentAt, ms: Date.now() - sentAt, code: answer.ok ? null : answer.code });
      await sleep(this.paceMs);
    }
  }
}

// Fills `rooms` rooms with one member from each gateway, all joined.
export async function populate(system, room, rooms) {
  const members = await system.connectMany(rooms * system.gateways.length);
  await Promise.all(members.map((member, index) => {
    const number = Math.floor(index / system.gateways.length);
    return member.join(`${room}-${number}`, `user-${index}`, { n: 0 });
  }));
  const all = () => members.every(({ roster }) => roster.members.size === system.gateways.length);
  await until('every member to see its room in full', all);
  return members;
}
