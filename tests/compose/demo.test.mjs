// deploy/compose/demo.yml as a newcomer starts it: there is something to see, every join is in Jaeger, and no one outside of this
// machine is let in.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Compose, WITHOUT } from '../harness/compose.mjs';
import { JaegerApi, json } from '../harness/jaeger.mjs';
import { until } from '../harness/until.mjs';

const MINUTES = { timeout: 240_000 };
const PEOPLE = 24;
const SEEN = { within: 90_000, every: 1000 };
// docker-compose.yml's, but for those whose images are not here.
const ALL = ['edge', 'crowd', 'reaper', 'otel-collector', 'jaeger', 'prometheus', 'alertmanager', ...['loki', 'grafana'].filter((name) => !WITHOUT.includes(name))];

let system;
let jaeger;

before(async () => {
  const files = ['docker-compose.yml', 'deploy/compose/demo.yml', ...(WITHOUT.includes('loki') ? ['deploy/compose/without-loki.yml'] : [])];
  system = await Compose.named('demo', { COMPOSE_FILE: files.join(':'), CROWD: String(PEOPLE) });
  jaeger = new JaegerApi(system.jaegerUrl);
  try {
    await system.compose('up', '-d', '--no-build', ...ALL);
    await system.healthy('edge', 1);
  } catch (error) {
    const report = await system.report();
    await system.down();
    throw new Error(`the demo did not start\n${report}`, { cause: error });
  }
}, MINUTES);

after(async () => {
  await system?.down();
}, MINUTES);

const prometheus = async (query) => {
  const { data } = await json(`http://127.0.0.1:${system.env.PROMETHEUS_PORT}/api/v1/query?${new URLSearchParams({ query })}`);
  return Number(data.result[0]?.value[1] ?? 0);
};

test('the crowd is in Prometheus: it is there, and it does things', MINUTES, async () => {
  await until('most of them to be connected', async () => await prometheus('sum(presence_connections_active)') > PEOPLE / 2, SEEN);
  for (const metric of ['presence_heartbeat_latency_seconds_count', 'presence_delivery_total']) {
    await until(`${metric} to grow`, async () => await prometheus(`sum(rate(${metric}[1m]))`) > 0, SEEN);
  }
});

test('each of ten joins is in Jaeger', MINUTES, async () => {
  const names = Array.from({ length: 10 }, (_, number) => `visitor-${number}`);
  for (const name of names) {
    const client = await system.connect();
    await client.join('visited', name);
  }
  for (const name of names) {
    await jaeger.find(`the join of ${name}`, { operation: 'socket presence:join', tags: { 'presence.user_id': name } }, undefined, 60_000);
  }
});

test('the crowd types, counts, takes the lock, and leaves', MINUTES, async () => {
  const client = await system.connect();
  await client.join('lobby', 'someone');
  await client.receives({ type: 'join' }, 60_000);
  await until('someone to type', () => client.events.some(({ type, state }) => type === 'update' && state.typing === true), SEEN);
  await until('someone to leave', () => client.events.some(({ type }) => type === 'leave'), SEEN);
  await until('the lock to be taken', () => client.locks.some(({ type, lockName }) => type === 'acquired' && lockName === 'pen'), SEEN);
  await until('someone to count', () => client.changes.some(({ items }) => items.some(({ key }) => key === 'counter')), SEEN);
  assert.deepEqual(client.complaints(), []);
  assert.doesNotMatch(await system.compose('logs', '--no-color', 'crowd'), /visits failed/);
  const [crowd] = await system.containers('crowd');
  assert.equal(crowd.RestartCount, 0);
});

test('everything is published on this machine alone', MINUTES, async () => {
  for (const { Name, NetworkSettings } of await system.containers()) {
    for (const places of Object.values(NetworkSettings.Ports)) {
      for (const { HostIp } of places ?? []) assert.equal(HostIp, '127.0.0.1', Name);
    }
  }
});

test('the page passes the edge', MINUTES, async () => {
  const page = await fetch(`${system.url}/`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get('content-type'), /^text\/html/);
});

test('Grafana opens on the overview for anyone, who may not change it', { ...MINUTES, skip: WITHOUT.includes('grafana') && 'Grafana is missing' }, async () => {
  await system.healthy('grafana', 1, 180_000);
  const grafana = `http://127.0.0.1:${system.env.GRAFANA_PORT}`;
  const { dashboard, meta } = await json(`${grafana}/api/dashboards/home`);
  assert.equal(dashboard.uid, 'rollcall-overview');
  assert.equal(meta.canEdit, false);
  assert.ok([401, 403].includes((await fetch(`${grafana}/api/admin/settings`)).status));
});
