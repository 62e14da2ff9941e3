// One running service (a release binary): started on a free port, ready before a test sees it, stopped for sure.
// Knows the contract of starting and stopping; nothing of what the service does.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { Child } from './child.mjs';
import { pathOf } from './repository.mjs';
import { until, withTimeout } from './until.mjs';

const BINARIES = process.env.ROLLCALL_BIN_DIR ?? pathOf('target/release');
// The same with a field more in everything that they send each other (scripts/build.sh: build_next).
const NEXT = process.env.ROLLCALL_NEXT_DIR ?? pathOf('.dev/next/bin');
const START_MS = 10_000;
// All clients of a test come from one address, and many of them at once.
const ONE_ADDRESS = { ADDRESS_HANDSHAKES_PER_S: '0' };

let started = 0;

// The process alone, with nothing from the tests' own environment but the PATH. With `next` it is of a later version; `wrapper(kind)`
// returns what to put before its command, for a limit.
export function spawnService(kind, { next, wrapper = () => [], ...env }, args = []) {
  const binary = join(next ? NEXT : BINARIES, kind);
  if (!existsSync(binary)) throw new Error(`${binary} is missing: build the workspace in release first`);
  const defaults = { PATH: process.env.PATH, PORT: '0', ADMIN_PORT: '0', LOG_FORMAT: 'json', RUST_LOG: 'info', ...ONE_ADDRESS };
  started += 1;
  const [command, ...rest] = [...wrapper(kind), binary, ...args];
  return new Child(`${kind} #${started}`, command, rest, { env: { ...defaults, ...env } });
}

function listeningAddress(line) {
  if (!line.startsWith('{')) return undefined;
  const record = JSON.parse(line);
  return record.message === 'listening' ? record.address : undefined;
}

export class Service {
  // Resolves as soon as the service listens: it need not be ready yet.
  static async listening(kind, env) {
    const child = spawnService(kind, env);
    try {
      const address = await withTimeout(`${kind} to listen`, START_MS, child.line(listeningAddress));
      return new Service(kind, child, address);
    } catch (error) {
      await child.kill();
      throw new Error(`${kind} did not start\n${child.report()}`, { cause: error });
    }
  }

  constructor(kind, child, address) {
    this.kind = kind;
    this.child = child;
    this.url = `http://${address}`;
  }

  get pid() {
    return this.child.pid;
  }

  get running() {
    return this.child.exit === null;
  }

  async get(path, options = {}) {
    const response = await fetch(this.url + path, { signal: AbortSignal.timeout(2000), ...options });
    const text = await response.text();
    const json = response.headers.get('content-type')?.startsWith('application/json');
    return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
  }

  async ready(within = START_MS) {
    await until(`${this.child.name} is ready`, async () => {
      const { status, body } = await this.get('/readyz');
      if (status !== 200) throw new Error(JSON.stringify(body));
      return true;
    }, { within });
    return this;
  }

  // Waits until the service is unready, because of this part if one is named.
  async unready({ because, within = START_MS } = {}) {
    return until(`${this.child.name} is unready because of ${because ?? 'anything'}`, async () => {
      const { status, body } = await this.get('/readyz');
      if (status !== 503 || (because && body.checks[because] === 'ok')) throw new Error(JSON.stringify(body));
      return body;
    }, { within });
  }

  kill() {
    return this.child.kill();
  }

  pause() {
    this.child.pause();
  }

  resume() {
    this.child.resume();
  }

  // SIGTERM, and the exit status once it has ended by itself.
  async terminate(within = 10_000) {
    this.child.signal('SIGTERM');
    return withTimeout(`${this.child.name} to stop after SIGTERM`, within, this.child.exited);
  }
}
