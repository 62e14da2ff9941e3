// What is attacked: two gateways, two presence-states and a reaper, a Redis with docker-compose.yml's settings, each with its
// memory limit; telemetry as in production, sent to a sink.
import { fileURLToPath } from 'node:url';

import { Child } from '../harness/child.mjs';
import { Edge } from '../harness/edge.mjs';
import { Redis, freePort } from '../harness/redis.mjs';
import { read } from '../harness/repository.mjs';
import { GATEWAY, REAPER, STATE, System } from '../harness/system.mjs';
import { MemoryLimits } from './memory-limits.mjs';

const MIB = 1024 * 1024;
// docker-compose.yml
const LIMITS = { [GATEWAY]: 1024 * MIB, [STATE]: 512 * MIB, [REAPER]: 128 * MIB, redis: 1024 * MIB, edge: 1024 * MIB };
const REDIS = {
  appendonly: 'yes', appendfsync: 'everysec', maxmemory: '512mb', 'maxmemory-policy': 'noeviction',
  'client-output-buffer-limit': 'pubsub 128mb 64mb 60',
};

// Scaled to the load: honest users here send something every second, idle ones in production every 20 s.
const EDGE = { env: { EDGE_MAX_CONNECTIONS: '8000', GATEWAY_MAX_CONNECTIONS: '7000' }, entries: '4k' };

export const limits = new MemoryLimits();

// The gateway's settings and their defaults. Other tests switch budgets off; here all are as they are without configuration, but for
// what makes a test a test.
const settings = read('services/gateway/default.toml');
const names = [...settings.matchAll(/^([a-z_]+) = /gm)].map(([, name]) => name.toUpperCase());
const OF_TESTS = ['REDIS_URL', 'HOST', 'PORT', 'RUST_LOG', 'LOG_FORMAT'];
// A variable that is undefined is not passed on.
const unset = Object.fromEntries(names.filter((name) => !OF_TESTS.includes(name)).map((name) => [name, undefined]));

const limitedRedis = (settings) => ({
  start: async () => {
    const redis = new Redis(false, await freePort(), { ...REDIS, ...settings });
    redis.wrapper = limits.around(LIMITS.redis);
    await redis.restart();
    return redis;
  },
});

async function startSink() {
  const file = fileURLToPath(new URL('./sink.mjs', import.meta.url));
  const child = new Child('telemetry sink', process.execPath, [file]);
  const port = await child.line((line) => line.match(/^listening (\d+)$/)?.[1]);
  const url = `http://127.0.0.1:${port}`;
  return { child, url, bytes: async () => Number(await (await fetch(`${url}/bytes`)).text()) };
}

// `redis`: settings other than docker-compose.yml's. `behindEdge`: clients reach the gateways through the edge alone.
export async function startSystem({ env, redis, behindEdge = false } = {}) {
  const sink = await startSink();
  const system = await System.start({
    gateways: 2, states: 2, reapers: 1, redis: limitedRedis(redis),
    env: {
      ...unset, OTEL_EXPORTER_OTLP_ENDPOINT: sink.url, DEPLOYMENT_ENVIRONMENT: 'production', ...env,
      wrapper: (kind) => limits.around(LIMITS[kind]),
    },
  });
  system.sink = sink;
  if (behindEdge) system.edge = await Edge.start(system.gateways, { ...EDGE, wrapper: limits.around(LIMITS.edge) });
  // Where clients connect.
  system.entrances = system.edge ? [system.edge.url] : system.gateways.map(({ url }) => url);
  return system;
}

export async function stopSystem(system) {
  await system.close();
  await system.edge?.child.kill();
  await system.sink.child.kill();
  limits.remove();
}

// Every process of it, by the name that the table shows, with its memory limit.
export function processes(system) {
  const named = (name, limit) => ({ child }) => ({ name, child, limit });
  return [
    ...system.gateways.map(named('gateway', LIMITS[GATEWAY])),
    ...system.states.map(named('state', LIMITS[STATE])),
    ...system.reapers.map(named('reaper', LIMITS[REAPER])),
    ...[system.redis].map(named('redis', LIMITS.redis)),
    ...(system.edge ? [system.edge] : []).map(named('edge', LIMITS.edge)),
  ];
}
