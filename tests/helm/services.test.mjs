// The real services under the environment that the chart writes: they take it, answer its probes, and stop in its time.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { basename } from 'node:path';
import { after, before, test } from 'node:test';

import { Redis } from '../harness/redis.mjs';
import { Service } from '../harness/service.mjs';
import { until } from '../harness/until.mjs';
import { COMPONENTS, Rendered, built } from './chart.mjs';

// Here they listen on ports of their own; the rest is the chart's.
const HERE = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' };

const chart = Rendered.of('default', ['--set', 'otlp.endpoint=,gateway.drainMs=4000']);
const running = {};
let redis;

before(async () => {
  redis = await Redis.start();
  for (const component of COMPONENTS) {
    const { container } = chart.pod(component);
    const given = { ...chart.one('ConfigMap', component).data, ...HERE };
    for (const { name, value } of container.env) given[name] = name === 'REDIS_URL' ? redis.url : value;
    running[component] = await Service.listening(basename(built(component).entryPoint[0]), given);
  }
});

after(async () => {
  for (const service of Object.values(running)) await service.kill();
  await redis?.kill();
});

test('each answers the paths of its probes', async () => {
  for (const component of COMPONENTS) {
    const { container } = chart.pod(component);
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      await until(`the ${probe} of ${component}`, async () =>
        (await running[component].get(container[probe].httpGet.path)).status === 200);
    }
  }
});

test('each stops by itself in the time it is given, a gateway with open connections too', { timeout: 60_000 }, async () => {
  const { hostname, port } = new URL(running.gateway.url);
  const clients = await Promise.all(Array.from({ length: 20 }, async () => {
    const client = connect(Number(port), hostname);
    client.on('error', () => {});
    client.write('GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: here\r\n\r\n');
    const [answer] = await once(client, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 200/);
    return client;
  }));
  const closed = clients.map((client) => once(client.resume(), 'close'));
  for (const component of COMPONENTS) {
    const { spec, container } = chart.pod(component);
    const left = spec.terminationGracePeriodSeconds - (container.lifecycle?.preStop.sleep.seconds ?? 0);
    const exit = await running[component].terminate(left * 1000);
    assert.deepEqual(exit, { code: 0, signal: null }, component);
  }
  await Promise.all(closed);
});
