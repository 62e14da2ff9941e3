// A child process of a test: started under the keeper's eye, its last lines kept, its end awaited.
// Knows nothing of what the process is.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const KEPT_LINES = 60;
const PAUSE_MS = 2000;

let keeper;

function tellKeeper(order) {
  if (!keeper) {
    const file = fileURLToPath(new URL('./keeper.mjs', import.meta.url));
    // Detached: a Ctrl-C at the terminal reaches the tests, not the process that cleans up after them.
    keeper = spawn(process.execPath, [file], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    keeper.unref();
    keeper.stdin.unref();
  }
  keeper.stdin.write(`${order}\n`);
}

// A temporary folder that is gone when the test file has ended.
export function temporaryFolder(name) {
  const path = mkdtempSync(join(tmpdir(), `rollcall-${name}-`));
  tellKeeper(`folder ${path}`);
  return path;
}

// The state letters of a process' threads, where the system has them (Linux).
function threadStates(pid) {
  try {
    const folder = `/proc/${pid}/task`;
    const stat = (thread) => readFileSync(`${folder}/${thread}/stat`, 'utf8');
    return readdirSync(folder).map((thread) => stat(thread).replace(/^.*\) /s, '')[0]);
  } catch (error) {
    if (error.code === 'ENOENT') return []; // no /proc, or a thread that has just ended
    throw error;
  }
}

export class Child {
  lines = [];
  stderr = '';
  exit = null;
  #watchers = new Set();

  // `stdin: 'pipe'` lets a test write to `process.stdin`.
  constructor(name, command, args, { stdin = 'ignore', ...options } = {}) {
    this.name = name;
    this.process = spawn(command, args, { ...options, stdio: [stdin, 'pipe', 'pipe'] });
    this.pid = this.process.pid;
    if (this.pid) tellKeeper(`guard ${this.pid}`);
    this.exited = this.#end();
    this.exited.catch(() => {}); // reported to those who await it, if any
    for (const stream of [this.process.stdout, this.process.stderr]) {
      createInterface({ input: stream }).on('line', (line) => this.#keep(line, stream));
    }
  }

  // Resolves with the first value that `pick(line)` answers for a line not yet printed.
  line(pick) {
    return new Promise((resolve, reject) => {
      const watcher = (line) => {
        const value = pick(line);
        if (value === undefined) return;
        this.#watchers.delete(watcher);
        resolve(value);
      };
      this.#watchers.add(watcher);
      this.exited.then(() => reject(new Error(`${this.name} ended early\n${this.report()}`)), reject);
    });
  }

  signal(name) {
    if (this.exit) throw new Error(`${this.name} has already ended\n${this.report()}`);
    this.process.kill(name); // of this child only, not of a process that got its pid since
  }

  // The kernel stops one thread after the other; whatever runs until then could still answer.
  pause() {
    this.signal('SIGSTOP');
    const stopped = () => threadStates(this.pid).every((state) => state === 'T');
    const deadline = Date.now() + PAUSE_MS;
    while (!stopped()) {
      if (Date.now() > deadline) throw new Error(`${this.name} was not stopped within ${PAUSE_MS} ms`);
    }
  }

  resume() {
    this.signal('SIGCONT');
  }

  // kill -9, and wait until it is gone. Killing what has already ended is no error.
  async kill() {
    if (!this.exit && this.pid) this.signal('SIGKILL');
    return this.exited;
  }

  report() {
    const state = this.exit ? `ended with ${this.exit.code ?? this.exit.signal}` : `running, pid ${this.pid}`;
    return [`--- ${this.name} (${state})`, ...this.lines].join('\n');
  }

  #keep(line, stream) {
    if (stream === this.process.stderr) this.stderr += `${line}\n`;
    this.lines.push(line);
    if (this.lines.length > KEPT_LINES) this.lines.shift();
    for (const watcher of [...this.#watchers]) watcher(line);
  }

  // `close`, not `exit`: the last lines have been read by then.
  async #end() {
    const [code, signal] = await once(this.process, 'close');
    tellKeeper(`release ${this.pid}`);
    this.exit = { code, signal };
    return this.exit;
  }
}
