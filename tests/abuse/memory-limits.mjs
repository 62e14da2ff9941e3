// Memory limits as containers have them: a memory cgroup for each process where this user may make one (v2, else v1), else a
// limit of its private memory (RLIMIT_DATA). The kernel kills a process that exceeds the first; an allocation fails under the
// second.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { hasPrlimit } from '../harness/memory.mjs';

const NAME = 'rollcall-abuse-';

// A folder may have any of these; where its limit can be read back, it holds.
const HIERARCHIES = [
  {
    kind: 'cgroup v2',
    root: '/sys/fs/cgroup',
    limit: 'memory.max',
    prepare: (root) => writeFileSync(join(root, 'cgroup.subtree_control'), '+memory'),
  },
  { kind: 'cgroup v1', root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', prepare: () => {} },
];

function removeQuietly(folder) {
  try {
    rmdirSync(folder);
  } catch {} // a process is still in it, or it is gone
}

function isUsable({ root, limit, prepare }) {
  const probe = join(root, `${NAME}${process.pid}-probe`);
  try {
    if (!existsSync(join(root, 'cgroup.procs'))) return false;
    prepare(root);
    mkdirSync(probe);
    writeFileSync(join(probe, limit), String(64 << 20));
    return readFileSync(join(probe, limit), 'utf8').trim() === String(64 << 20);
  } catch {
    return false;
  } finally {
    removeQuietly(probe);
  }
}

export class MemoryLimits {
  #hierarchy = HIERARCHIES.find(isUsable);
  #folders = [];

  constructor() {
    this.kind = this.#hierarchy?.kind ?? (hasPrlimit() ? 'RLIMIT_DATA' : 'none');
    // A run that was killed could not remove its own.
    if (this.#hierarchy) {
      const { root } = this.#hierarchy;
      for (const name of readdirSync(root)) if (name.startsWith(NAME)) removeQuietly(join(root, name));
    }
  }

  // What to put before a command so that its process (with the same pid) has at most so many bytes.
  around(bytes) {
    if (this.kind === 'none') return [];
    if (!this.#hierarchy) return ['prlimit', `--data=${bytes}`];
    const { root, limit } = this.#hierarchy;
    const folder = join(root, `${NAME}${process.pid}-${this.#folders.length}`);
    mkdirSync(folder);
    this.#folders.push(folder);
    writeFileSync(join(folder, limit), String(bytes));
    return ['sh', '-c', 'echo $$ >"$0" && exec "$@"', join(folder, 'cgroup.procs')];
  }

  // For processes that have ended.
  remove() {
    this.#folders.forEach(removeQuietly);
  }
}
