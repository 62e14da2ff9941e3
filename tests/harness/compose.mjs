// All of Rollcall as docker-compose.yml has it, under a project's name, ports and network of its own. What is done to
// containers here is what an operator or an accident does: scale, stop, kill from outside, look at.
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

import { Client } from './client.mjs';
import { freePort } from './redis.mjs';
import { ROOT } from './repository.mjs';
import { until } from './until.mjs';

const run = promisify(execFile);
const COMPOSE = (process.env.ROLLCALL_COMPOSE ?? 'docker-compose').split(' ');
const COMMAND_MS = 300_000;
// Servers whose images are not here, although docker-compose.yml has them.
export const WITHOUT = (process.env.ROLLCALL_WITHOUT ?? '').split(' ').filter(Boolean);
const PORTS = [
  'EDGE_PORT', 'JAEGER_PORT', 'PROMETHEUS_PORT', 'ALERTMANAGER_PORT', 'LOKI_PORT', 'GRAFANA_PORT', 'OTLP_PORT', 'OTLP_GRPC_PORT',
];

export async function docker(...args) {
  return (await run('docker', args, { timeout: COMMAND_MS, maxBuffer: 1 << 26 })).stdout.trim();
}

export class Compose {
  clients = [];

  // Nothing runs yet. `env`: variables of .env.example.
  static async named(name, env = {}) {
    const ports = Object.fromEntries(await Promise.all(PORTS.map(async (variable) => [variable, String(await freePort())])));
    // No more open files than the engine itself may have.
    const files = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim().replace('unlimited', '65536');
    const third = 1 + (process.pid % 250);
    return new Compose({
      PATH: process.env.PATH, HOME: process.env.HOME, DOCKER_HOST: process.env.DOCKER_HOST ?? '', DOCKER_CONFIG: process.env.DOCKER_CONFIG ?? '',
      ROLLCALL_TAG: process.env.ROLLCALL_TAG ?? 'latest', COMPOSE_PROJECT_NAME: `rollcall-${name}-${process.pid}`, EDGE_SUBNET: `10.213.${third}.0/24`, EDGE_BIND: '127.0.0.1',
      OPEN_FILES: files, GATEWAY_OPEN_FILES: String(Math.min(Number(files), 32768)), EDGE_MAX_CONNECTIONS: '4000', ...ports, ...env,
    });
  }

  constructor(env) {
    this.env = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
    this.url = `http://127.0.0.1:${env.EDGE_PORT}`;
    this.jaegerUrl = `http://127.0.0.1:${env.JAEGER_PORT}`;
  }

  async compose(...args) {
    const [command, ...first] = COMPOSE;
    return (await run(command, [...first, ...args], { cwd: ROOT, env: this.env, timeout: COMMAND_MS, maxBuffer: 1 << 26 })).stdout.trim();
  }

  // A script of the project, under the same variables.
  async script(path, args, env = {}) {
    const { stdout, stderr } = await run(path, args, { cwd: ROOT, env: { ...this.env, ...env, COMPOSE: COMPOSE.join(' ') }, timeout: COMMAND_MS });
    return stdout + stderr;
  }

  async ids(service) {
    return (await this.compose('ps', '-a', '-q', ...(service ? [service] : []))).split('\n').filter(Boolean);
  }

  async inspect(ids) {
    return ids.length === 0 ? [] : JSON.parse(await docker('inspect', ...ids));
  }

  async containers(service) {
    return this.inspect(await this.ids(service));
  }

  async scale(service, count) {
    await this.compose('up', '-d', '--no-build', '--no-deps', '--no-recreate', '--scale', `${service}=${count}`, service);
    await this.healthy(service, count);
  }

  healthy(service, count, within = 90_000) {
    return until(`${count} healthy of ${service}`, async () => {
      const now = (await this.containers(service)).map(({ State }) => `${State.Status}/${State.Health?.Status}`);
      if (now.length !== count || now.some((state) => state !== 'running/healthy')) throw new Error(now.join(', '));
      return true;
    }, { within, every: 300 });
  }

  // The state of one container's health check.
  async health(id) {
    const [{ State }] = await this.inspect([id]);
    return State.Health?.Status;
  }

  // To the process itself, from outside of Docker, as a crash would: `docker kill` counts as meant.
  async signal(id, name) {
    const [{ State }] = await this.inspect([id]);
    process.kill(State.Pid, name);
  }

  // Killed, and started again by its restart policy.
  async crash(service, number = 0) {
    const ids = await this.ids(service);
    const [{ State: before }] = await this.inspect([ids[number]]);
    process.kill(before.Pid, 'SIGKILL');
    await until(`${service} to be started again`, async () => {
      const [{ State }] = await this.inspect([ids[number]]);
      return State.Running && State.Pid !== before.Pid;
    }, { within: 20_000, every: 100 });
  }

  async connect(options) {
    const client = await Client.connect(this.url, options);
    this.clients.push(client);
    return client;
  }

  closeClients() {
    for (const client of this.clients.splice(0)) client.close();
  }

  complaints() {
    return this.clients.flatMap((client) => client.complaints());
  }

  async report() {
    const services = ['setup', 'redis', 'presence-state', 'reaper', 'gateway', 'edge'];
    return this.compose('logs', '--no-color', '--tail=12', ...services).catch((error) => String(error));
  }

  async down() {
    this.closeClients();
    await this.compose('down', '-v', '-t', '1', '--remove-orphans');
  }
}
