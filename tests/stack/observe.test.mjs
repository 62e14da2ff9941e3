// `./dev up --observe` for a newcomer who wants to see what happens: addresses that answer, a link that finds the
// newest join, and services to which a dead telemetry server is nothing.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';

import { temporaryFolder } from '../harness/child.mjs';
import { Client } from '../harness/client.mjs';
import { STOP_MS, devUp, ended, nothingLeft, ready } from '../harness/dev-up.mjs';
import { WITHOUT_LOKI } from '../harness/stack.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const PAGES = { Jaeger: '/api/services', Prometheus: '/-/ready', Alertmanager: '/-/ready', ...(!WITHOUT_LOKI && { Loki: '/ready' }) };

async function observed(t, args, settings, body) {
  const dev = devUp(args, { OBSERVE_PORTS: 'any', ...settings });
  try {
    await body(dev);
  } catch (error) {
    t.diagnostic(dev.report());
    throw error;
  } finally {
    if (!dev.exit) {
      dev.signal('SIGTERM');
      await ended(dev);
    }
  }
}

const address = (dev, name) => dev.lines.map((line) => line.match(new RegExp(`^  ${name} +(http://\\S+)`))?.[1]).find(Boolean);

test('addresses answer, the link finds the newest join, a dead server changes nothing, Ctrl-C ends all', async (t) => {
  await observed(t, ['--observe'], {}, async (dev) => {
    const { urls } = await ready(dev);
    assert.equal(/^dev: Loki is left out, [^\n]+docker pull grafana\/loki:\S+$/m.test(dev.stderr), Boolean(WITHOUT_LOKI), dev.stderr);
    for (const [name, path] of Object.entries(PAGES)) assert.equal((await fetch(address(dev, name) + path)).status, 200, name);
    // A server that was built from its module may have none.
    for (const [name, page, sign] of [['Jaeger', '/search', 'jaeger-ui-root'], ['Prometheus', '/query', '<title>Prometheus']]) {
      const hasPages = (await (await fetch(address(dev, name) + page)).text()).includes(sign);
      assert.equal(dev.lines.some((line) => line.startsWith(`  ${name} `) && line.includes('built without pages')), !hasPages, name);
    }

    const client = await Client.connect(urls[0]);
    await client.join('lobby', 'ann');
    const link = address(dev, 'Newest join');
    await until('the link to find the join', async () => (await (await fetch(link)).text()).includes('"lobby"'), { within: 30_000, every: 300 });

    const death = dev.line((line) => line.match(/^dev: jaeger has died.*/)?.[0]);
    const [, pid] = dev.lines.join('\n').match(/^ {2}Jaeger .*\(pid (\d+)\)$/m);
    process.kill(Number(pid), 'SIGKILL');
    assert.match(await withTimeout('the death to be reported', STOP_MS, death), /the others go on$/);
    assert.equal((await client.patch({ n: 1 })).changed, true);
    client.close();

    process.kill(-dev.pid, 'SIGINT');
    assert.deepEqual(await ended(dev), { code: 0, signal: null });
    await nothingLeft(dev);
  });
});

test('--crowd fills it: people are in Prometheus, and their joins in Jaeger', async (t) => {
  await observed(t, ['--observe', '--crowd', '12'], {}, async (dev) => {
    await ready(dev);
    const within = { within: 60_000, every: 500 };
    const query = new URLSearchParams({ query: 'sum(presence_connections_active)' });
    await until('people to be in Prometheus', async () => {
      const { data } = await (await fetch(`${address(dev, 'Prometheus')}/api/v1/query?${query}`)).json();
      return Number(data.result[0]?.value[1]) >= 6;
    }, within);
    await until('a join to be in Jaeger', async () => (await (await fetch(address(dev, 'Newest join'))).text()).includes('presence.user_id'), within);
  });
});

// No engine, nothing in the cache, and on the PATH a collector and a Go of the past.
function nothing() {
  const folder = temporaryFolder('tools');
  writeFileSync(join(folder, 'go'), '#!/bin/sh\necho go1.10\n', { mode: 0o755 });
  writeFileSync(join(folder, 'otelcol-contrib'), '#!/bin/sh\necho otelcol-contrib version 0.100.0\n', { mode: 0o755 });
  return { DOCKER_HOST: 'tcp://127.0.0.1:1', XDG_CACHE_HOME: join(folder, 'cache'), PATH: `${folder}:${process.env.PATH}` };
}

test('without any of the servers it says what is missing, builds nothing, and runs', async (t) => {
  await observed(t, ['--observe'], nothing(), async (dev) => {
    const { urls } = await ready(dev);
    assert.equal((await fetch(`${urls[0]}/readyz`)).status, 200);
    assert.match(dev.stderr, /^dev: left out, because there is no Docker engine, and [^\n]*: otelcol-contrib, [^\n]*--observe=build$/m);
    assert.match(dev.stderr, /^dev: without a collector nothing is observed; /m);
    assert.doesNotMatch(dev.stderr, /\bGo [\d.]+/);
  });
});

test('--observe=build with a Go that is too old says so at once', async (t) => {
  await observed(t, ['--observe=build'], nothing(), async (dev) => {
    assert.deepEqual(await ended(dev), { code: 1, signal: null });
    assert.match(dev.stderr, /^dev: otelcol-contrib\b[^\n]* cannot be built without Go [\d.]+ or newer; [^\n]*\n$/m);
  });
});

test('a port in use: one sentence, at once', async (t) => {
  const stranger = createServer();
  const listens = new Promise((resolve) => {
    stranger.once('listening', resolve);
    stranger.once('error', resolve); // another process listens there: just as good
  });
  stranger.listen(9090, '127.0.0.1');
  await listens;
  try {
    await observed(t, ['--observe'], { OBSERVE_PORTS: 'usual' }, async (dev) => {
      assert.deepEqual(await ended(dev), { code: 1, signal: null });
      assert.match(dev.stderr, /^dev: port \d+ \(\w+\) is in use; [^\n]*OBSERVE_PORTS=any[^\n]*\n$/);
    });
  } finally {
    stranger.close();
  }
});
