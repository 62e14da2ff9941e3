// A real Redis of the test's own: `redis-server` (or `valkey-server`) from the PATH on a free port, its data in
// a temporary folder. It can be paused, killed and started again, with or without its data.
import { execFileSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

import { Child, temporaryFolder } from './child.mjs';
import { RespClient } from './resp.mjs';
import { until } from './until.mjs';

export function findServer() {
  for (const name of ['redis-server', 'valkey-server']) {
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' });
      return name;
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
  }
  throw new Error('neither redis-server nor valkey-server is on the PATH');
}

// Below the range from which the system takes ports by itself: while a Redis is down in a test, no other process
// must come to sit on its port.
const FIRST_PORT = 15_000;
const LAST_PORT = 32_000;

export function freePort() {
  return new Promise((resolve) => {
    const probe = createServer();
    const listen = () => probe.listen(randomInt(FIRST_PORT, LAST_PORT), '127.0.0.1');
    probe.on('error', listen);
    probe.on('listening', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
    listen();
  });
}

export class Redis {
  wrapper = []; // what is put before its command, for a limit
  #client;

  // `durable`: every write is on disk before it is answered, so that a killed Redis comes back with its data.
  static async start({ durable = false, port } = {}) {
    const redis = new Redis(durable, port ?? (await freePort()));
    await redis.restart();
    return redis;
  }

  // `options` of redis-server, in addition to those of every test's Redis. `credentials`: the user and password for commands.
  constructor(durable, port, options = {}, credentials = undefined) {
    this.credentials = credentials;
    this.durable = durable;
    this.port = port;
    this.options = options;
    this.folder = temporaryFolder('redis');
    this.url = `redis://127.0.0.1:${port}`;
  }

  // Starts the server process: again on the same port, with what the folder still holds.
  async restart() {
    const options = {
      port: this.port, bind: '127.0.0.1', dir: this.folder, save: '', daemonize: 'no',
      appendonly: this.durable ? 'yes' : 'no', appendfsync: 'always',
      ...this.options,
    };
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, ...[value].flat().map(String)]);
    const [command, ...rest] = [...this.wrapper, findServer(), ...args];
    this.child = new Child(`redis :${this.port}`, command, rest);
    await until(`Redis on port ${this.port} answers`, () => {
      if (this.child.exit) throw new Error(this.child.report());
      return this.command('PING');
    });
  }

  async restartEmpty() {
    // The dump is what a replica wrote when it fetched its master's data.
    for (const data of ['appendonlydir', 'dump.rdb']) rmSync(join(this.folder, data), { recursive: true, force: true });
    await this.restart();
  }

  // The append-only file as it is now; returns how to put it back.
  keepData() {
    const [now, then] = [join(this.folder, 'appendonlydir'), join(this.folder, 'then')];
    cpSync(now, then, { recursive: true });
    return () => {
      rmSync(now, { recursive: true });
      cpSync(then, now, { recursive: true });
    };
  }

  // What a cluster has several of.
  async masters() {
    return [this];
  }

  async command(...args) {
    if (!this.#client?.open) {
      this.#client = await RespClient.connect(this.port);
      if (this.credentials) await this.#client.command('AUTH', ...this.credentials);
    }
    return this.#client.command(...args);
  }

  async keys(pattern = '*') {
    return (await this.command('KEYS', pattern)).sort();
  }

  // Whether it can be asked.
  get isUp() {
    return !this.child.exit && !this.isPaused;
  }

  pause() {
    this.isPaused = true;
    this.child.pause();
  }

  resume() {
    this.isPaused = false;
    this.child.resume();
  }

  async kill() {
    this.#client?.close();
    await this.child.kill();
  }
}
