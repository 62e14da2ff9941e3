// How long scripts have blocked Redis, as its slowlog says. The clock of the slowlog also runs while Redis waits for a processor
// that others have. How long it has waited, the system says (Linux); the log is read so often that what it waited about the time
// of a call is known, and that much is not the script's.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { scriptNames } from './scripts.mjs';
import { sleep } from './until.mjs';

const LOGGED_FROM_US = 1000;
const KEPT = 100_000;
const READ_EVERY_MS = 20;
const RUNS_A_SCRIPT = /^(eval|evalsha|fcall)(_ro)?$/i;

// For how long the main thread of a process has waited for a processor since it began, ms.
function waitedMs(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
  } catch (error) {
    if (error.code === 'ENOENT') return 0; // no Linux, or it has ended
    throw error;
  }
}

export class SlowLog {
  #redis;
  #names = scriptNames();
  #samples = []; // {at, waited}, one for each time that the log was read
  #scripts = new Map();
  #reading = Promise.resolve();
  #stopped = false;

  // Begins with an empty log.
  static async of(redis) {
    await redis.command('CONFIG', 'SET', 'slowlog-max-len', KEPT);
    await redis.command('CONFIG', 'SET', 'slowlog-log-slower-than', LOGGED_FROM_US);
    const log = new SlowLog(redis);
    await log.reset();
    log.#follow().catch(() => {}); // Redis has ended
    return log;
  }

  constructor(redis) {
    this.#redis = redis;
  }

  async reset() {
    await this.#read();
    this.#scripts.clear();
  }

  stop() {
    this.#stopped = true;
  }

  // Each script that was slow since the last reset, the slowest first: {name; ms of its slowest call; ownMs, the most of a call
  // without what Redis may have waited for a processor; count of its calls in the log}.
  async scripts() {
    await this.#read();
    return [...this.#scripts.values()].sort((one, other) => other.ms - one.ms);
  }

  // Reports the slowest call of each script, fails if one took longer than `mostMs`, or ten times as long with all its waiting,
  // and begins again.
  async assertShort(t, phase, mostMs) {
    const scripts = await this.scripts();
    const own = ({ ms, ownMs }) => (ms - ownMs >= 1 ? `, at least ${ownMs.toFixed(1)} ms with a processor` : '');
    const lines = scripts.map((script) => `${script.name} ${script.ms.toFixed(1)} ms${own(script)} (${script.count} calls)`);
    t.diagnostic(`slowest scripts ${phase}: ${lines.join('; ') || `none over ${LOGGED_FROM_US / 1000} ms`}`);
    assert.deepEqual(scripts.filter(({ ms, ownMs }) => ownMs > mostMs || ms > 10 * mostMs), [], `scripts that blocked Redis for over ${mostMs} ms ${phase}`);
    await this.reset();
  }

  async #follow() {
    while (!this.#stopped) {
      await this.#read();
      await sleep(READ_EVERY_MS);
    }
  }

  // One after the other; what one takes out of the log is not there for the next.
  #read() {
    this.#reading = this.#reading.then(() => this.#take());
    return this.#reading;
  }

  async #take() {
    const commands = [['MULTI'], ['SLOWLOG', 'GET', '-1'], ['SLOWLOG', 'RESET'], ['EXEC']];
    const answers = await Promise.all(commands.map((command) => this.#redis.command(...command)));
    const before = this.#samples.at(-1)?.at ?? Date.now();
    this.#samples.push({ at: Date.now(), waited: waitedMs(this.#redis.child.pid) });
    for (const [, , us, [command, hash]] of answers.at(-1)[0]) {
      if (RUNS_A_SCRIPT.test(command)) this.#note(this.#names.get(hash) ?? command.toLowerCase(), us / 1000, before);
    }
  }

  // A call that ended after `since`.
  #note(name, ms, since) {
    const first = this.#samples.findLast(({ at }) => at <= since - ms) ?? this.#samples[0];
    const ownMs = Math.max(0, ms - (this.#samples.at(-1).waited - first.waited));
    const known = this.#scripts.get(name) ?? { name, ms: 0, ownMs: 0, count: 0 };
    this.#scripts.set(name, { name, ms: Math.max(known.ms, ms), ownMs: Math.max(known.ownMs, ownMs), count: known.count + 1 });
  }
}
