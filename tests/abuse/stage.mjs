// The system that is attacked at the moment, with its honest users. It serves one attacker after the other until it is broken, or
// another kind of system is needed.
import { missing } from '../harness/edge.mjs';
import { Honest } from './honest.mjs';
import { startIssuer } from './issuer.mjs';
import { startSystem, stopSystem } from './system.mjs';

// How a system is set up: `prepare` returns settings of the services (`env`) and of Redis, what an honest user connects with,
// what attackers get to know (`more`), and what to close in the end.
export const profiles = {
  open: { prepare: async () => ({}) },
  small: { prepare: async () => ({ redis: { maxmemory: '64mb' } }) },
  edge: {
    missing,
    prepare: async () => ({ behindEdge: true, env: { TRUSTED_PROXIES: '127.0.0.1' } }),
  },
  jwt: { prepare: startIssuer },
};

export class Stage {
  #now = null;

  async open(profile = 'open') {
    if (this.#now?.profile === profile) return this.#now;
    await this.clear();
    const prepared = await profiles[profile].prepare();
    const system = await startSystem(prepared);
    this.#now = { profile, system, more: prepared.more, close: prepared.close };
    this.#now.honest = await Honest.arrive(system, prepared.auth);
    return this.#now;
  }

  async clear() {
    const then = this.#now;
    if (!then) return;
    this.#now = null;
    // Answers of what may be dead are not waited for.
    for (const { socket } of then.honest?.users ?? []) socket.disconnect();
    await then.honest?.leave();
    await stopSystem(then.system);
    then.close?.();
  }
}
