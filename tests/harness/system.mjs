// A complete Rollcall for one test: one Redis and any number of gateways, presence-states and reapers, ready and known to each
// other before the test sees them, and stopped for sure.
import { Client } from './client.mjs';
import { RedisCluster } from './cluster.mjs';
import { Redis } from './redis.mjs';
import { Service } from './service.mjs';
import { until } from './until.mjs';

export const GATEWAY = 'presence-gateway';
export const STATE = 'presence-state';
export const REAPER = 'presence-reaper';

// So short that expiry can be watched; for the tests in which connections do expire.
export const SHORT_LIVES = { PRESENCE_LIVENESS: 'heartbeat', PRESENCE_TTL_MS: '3000', PRESENCE_REAPER_INTERVAL_MS: '300' };

// No test is as slow as a client that a person uses. Tests of these budgets set them (budgets.test.mjs).
const UNLIMITED = { SOCKET_EVENTS_PER_S: '0', SOCKET_BYTES_PER_S: '0', CHANNEL_WRITES_PER_S: '0' };

// Every system of a test run on a Redis Cluster: `npm run cluster`.
const KIND = process.env.ROLLCALL_TEST_CLUSTER === '1' ? RedisCluster : Redis;

export class System {
  gateways = [];
  states = [];
  reapers = [];
  clients = [];

  // `redis`: the kind of Redis that it uses. With an `issuer` clients need its tokens.
  static async start({ gateways = 1, states = 1, reapers = 1, durable = false, redis = KIND, issuer, env = {} } = {}) {
    const system = new System(await redis.start({ durable }), { ...issuer?.env, ...env });
    system.issuer = issuer;
    try {
      // Presence-states first: a gateway reads the directory every 0.75 s, and must know all of them from its first request.
      await Promise.all(Array.from({ length: states }, () => system.addState()));
      await Promise.all([
        ...Array.from({ length: reapers }, () => system.addReaper()),
        ...Array.from({ length: gateways }, () => system.addGateway()),
      ]);
      return system;
    } catch (error) {
      const report = system.report();
      await system.close();
      throw new Error(`the system did not start\n${report}`, { cause: error });
    }
  }

  constructor(redis, env) {
    this.redis = redis;
    this.env = { REDIS_URL: redis.url, ...UNLIMITED, ...env };
  }

  get services() {
    return [...this.gateways, ...this.states, ...this.reapers];
  }

  addGateway(env) {
    return this.#add(GATEWAY, this.gateways, env);
  }

  addState(env) {
    return this.#add(STATE, this.states, env);
  }

  addReaper(env) {
    return this.#add(REAPER, this.reapers, env);
  }

  // A connected client at the gateway of that number; if it needs a token, one that allows `as` everything.
  async connect(gateway = 0, { as = 'someone', ...options } = {}) {
    const auth = this.issuer && { token: this.issuer.token(as) };
    const path = this.env.SOCKET_IO_PATH;
    const client = await Client.connect(this.gateways[gateway].url, { ...(auth && { auth }), ...(path && { path }), ...options });
    this.clients.push(client);
    return client;
  }

  // `count` clients, spread over all gateways in turn.
  async connectMany(count, options = {}) {
    return Promise.all(Array.from({ length: count }, (_, index) => this.connect(index % this.gateways.length, options)));
  }

  // Everything that any client received against the protocol.
  complaints() {
    return this.clients.flatMap((client) => client.complaints());
  }

  // A truce begins with each service, in which no one is evicted; resolves when those of all are over.
  async evictionsAllowed() {
    const began = (service) => service.child.lines.some((line) => line.includes('eviction truce began'));
    const ended = (service) => service.child.lines.filter((line) => line.includes('eviction truce ended')).length
      === service.child.lines.filter((line) => line.includes('eviction truce began')).length;
    await until('every truce to be over', () => this.services.filter(({ running }) => running).every((service) => began(service) && ended(service)), { within: 20_000 });
  }

  closeClients() {
    for (const client of this.clients.splice(0)) client.close();
  }

  async close() {
    this.closeClients();
    await Promise.all(this.services.map((service) => service.kill()));
    await this.redis.kill();
  }

  report() {
    return [...this.services.map((service) => service.child), this.redis.child].map((child) => child.report()).join('\n');
  }

  async #add(kind, list, env = {}) {
    const service = await Service.listening(kind, { ...this.env, ...env });
    list.push(service);
    await service.ready();
    return service;
  }
}
