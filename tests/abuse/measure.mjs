// What is measured from outside: the memory of processes as the kernel counts it, what Redis holds, percentiles.
import { readFileSync, writeFileSync } from 'node:fs';

export const MIB = 1024 * 1024;

function statusBytes({ child }, field) {
  if (child.exit) return 0;
  const [, kib] = readFileSync(`/proc/${child.pid}/status`, 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm')) ?? [0, 0];
  return Number(kib) * 1024;
}

// Resident bytes of a process; 0 once it has ended.
export const resident = (process) => statusBytes(process, 'VmRSS');

const LOOK_MS = 250;

// The most that each of some processes had since the watch began, also of those that ended meanwhile.
export class PeakWatch {
  #most = new Map();
  #timer;

  constructor(processes) {
    // 5: from now on VmHWM is the most since now.
    for (const { child } of processes) if (!child.exit) writeFileSync(`/proc/${child.pid}/clear_refs`, '5');
    this.#timer = setInterval(() => this.#look(processes), LOOK_MS);
  }

  of(process) {
    this.#look([process]);
    return this.#most.get(process.child);
  }

  stop() {
    clearInterval(this.#timer);
  }

  #look(processes) {
    for (const process of processes) {
      this.#most.set(process.child, Math.max(this.#most.get(process.child) ?? 0, statusBytes(process, 'VmHWM')));
    }
  }
}

export function percentile(numbers, share) {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

export const latencies = (numbers) => ({ p50: percentile(numbers, 0.5), p99: percentile(numbers, 0.99) });

const PREFIX = 'prs:';
// What a connection's last operation left behind, for 30 s.
const PASSING = 'done';

// How many keys of each kind Redis holds, and all its bytes.
export async function stored(redis) {
  const kinds = {};
  let cursor = '0';
  do {
    const [next, keys] = await redis.command('SCAN', cursor, 'MATCH', `${PREFIX}*`, 'COUNT', '2000');
    for (const key of keys) {
      const kind = key.match(/^prs:\{[^}]*\}:([a-z]+)/)?.[1] ?? 'other';
      if (kind !== PASSING) kinds[kind] = (kinds[kind] ?? 0) + 1;
    }
    cursor = next;
  } while (cursor !== '0');
  const info = await redis.command('INFO', 'memory');
  return { kinds, bytes: Number(info.match(/^used_memory:(\d+)/m)[1]) };
}
