// How long scripts have blocked Redis, as its slowlog says. The clock of the slowlog also runs while Redis waits for a processor
// that others have; how long it waited in the second of a call, the system says (Linux), and that much is not the script's.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { scriptNames } from './scripts.mjs';

const LOGGED_FROM_US = 1000;
const KEPT = 100_000;
const SAMPLE_MS = 100;
const RUNS_A_SCRIPT = /^(eval|evalsha|fcall)(_ro)?$/i;

// For how long the main thread of a process has waited for a processor since it began, ms.
function waitedMs(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
  } catch (error) {
    if (error.code === 'ENOENT') return 0; // no Linux
    throw error;
  }
}

export class SlowLog {
  #redis;
  #names = scriptNames();
  #samples = []; // {at, waited}
  #timer;

  // Begins with an empty log.
  static async of(redis) {
    await redis.command('CONFIG', 'SET', 'slowlog-max-len', KEPT);
    await redis.command('CONFIG', 'SET', 'slowlog-log-slower-than', LOGGED_FROM_US);
    const log = new SlowLog(redis);
    await log.reset();
    return log;
  }

  constructor(redis) {
    this.#redis = redis;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
    this.#timer.unref();
  }

  async reset() {
    await this.#redis.command('SLOWLOG', 'RESET');
    this.#samples = [];
    this.#sample();
  }

  stop() {
    clearInterval(this.#timer);
  }

  // The slowest call of each script since the last reset, the slowest first: {name, ms by the slowlog, ms of that which Redis may
  // have waited for a processor, calls in the log}.
  async scripts() {
    this.#sample();
    const slowest = new Map();
    for (const [, second, us, [command, hash]] of await this.#redis.command('SLOWLOG', 'GET', '-1')) {
      if (!RUNS_A_SCRIPT.test(command)) continue;
      const name = this.#names.get(hash) ?? command.toLowerCase();
      const ms = us / 1000;
      const call = { name, ms, waited: Math.min(ms, this.#waitedWithin(second * 1000 - ms, second * 1000 + 1000)) };
      const before = slowest.get(name);
      const worst = before && own(before) >= own(call) ? before : call;
      slowest.set(name, { ...worst, count: (before?.count ?? 0) + 1 });
    }
    return [...slowest.values()].sort((one, other) => other.ms - one.ms);
  }

  // Reports the slowest call of each script, fails if one took longer than `mostMs`, and begins again.
  async assertShort(t, phase, mostMs) {
    const scripts = await this.scripts();
    const waits = (waited) => (waited >= 1 ? `, up to ${Math.round(waited)} ms of it without a processor` : '');
    const lines = scripts.map(({ name, ms, waited, count }) => `${name} ${ms} ms${waits(waited)} (${count} calls logged)`);
    t.diagnostic(`slowest scripts ${phase}: ${lines.join('; ') || `none over ${LOGGED_FROM_US / 1000} ms`}`);
    assert.deepEqual(scripts.filter((call) => own(call) > mostMs), [], `scripts that blocked Redis for over ${mostMs} ms ${phase}`);
    await this.reset();
  }

  #sample() {
    this.#samples.push({ at: Date.now(), waited: waitedMs(this.#redis.child.pid) });
  }

  #waitedWithin(from, to) {
    const before = this.#samples.findLast(({ at }) => at <= from) ?? this.#samples[0];
    const after = this.#samples.find(({ at }) => at >= to) ?? this.#samples.at(-1);
    return after.waited - before.waited;
  }
}

const own = ({ ms, waited }) => ms - waited;
