// What Prometheus and Loki have while a system does everything that it can do: every metric of the table, the seed's
// query, what each rule and each panel of each dashboard asks for, and a log line that opens its trace.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { temporaryFolder } from '../harness/child.mjs';
import { Edge, missing as withoutEdge } from '../harness/edge.mjs';
import { METRICS } from '../harness/metrics.mjs';
import { Redis, freePort } from '../harness/redis.mjs';
import { pathOf, read } from '../harness/repository.mjs';
import { Stack, WITHOUT_LOKI } from '../harness/stack.mjs';
import { SHORT_LIVES, System } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';
import { everything } from '../harness/usage.mjs';

const DASHBOARDS = 'deploy/telemetry/grafana/dashboards';
// Queries that have nothing to show in a healthy system, by a part of them, and why.
const MAY_BE_EMPTY = [
  'otelcol_exporter_send_failed_', 'otelcol_exporter_enqueue_failed_', // appear with the first item that is lost
  'ALERTS_FOR_STATE', // no alert fires
];
const PASSWORD = '12e5-of-the-collector';

let stack;
let system;
let usage;
let edge;

// The collector's user as users.acl has it, but for the name of a password.
function collectorUser() {
  const [, rules] = read('deploy/redis/users.acl').match(/^user collector on #PASSWORD\n +(.+)$/m);
  return ['ACL', 'SETUSER', 'collector', 'on', `>${PASSWORD}`, ...rules.split(' ')];
}

before(async () => {
  const port = await freePort();
  const file = join(temporaryFolder('collector'), 'redis_password');
  writeFileSync(file, PASSWORD);
  stack = await Stack.start({
    redis: true,
    collector: { COLLECTOR_SAMPLE_PERCENT: '100', COLLECTOR_REDIS: `127.0.0.1:${port}`, COLLECTOR_REDIS_PASSWORD_FILE: file },
  });
  system = await System.start({
    gateways: 2, states: 2, env: { ...stack.env, ...SHORT_LIVES, DEPLOYMENT_ENVIRONMENT: 'development' },
    redis: { start: (options) => Redis.start({ ...options, port }) },
  });
  await system.redis.command(...collectorUser());
  if (!withoutEdge) {
    edge = await Edge.start(system.gateways);
    stack.watchEdge(edge.metrics);
  }
  // Without a limit there is no share of it.
  await system.redis.command('CONFIG', 'SET', 'maxmemory', '512mb');
  usage = everything(system);
  await usage.begin();
});

after(async () => {
  await usage?.stop();
  await edge?.close();
  await system?.close();
  await stack?.close();
});

test('the table of metrics was read', () => assert.ok(METRICS.length > 30, `${METRICS.length} rows`));

for (const { name, series, services, histogram } of METRICS) {
  test(`${name} is in Prometheus`, async () => {
    for (const service of services) {
      for (const part of histogram ? ['_bucket', '_sum', '_count'] : ['']) {
        await stack.prometheus.has(`${series}${part}{service_name="${service}"}`, 15_000);
      }
    }
  });
}

const page = read('docs/reference/telemetry.md').split('\n### Metrics of Redis, the edge and the collector\n')[1].split(/\n##+ /)[0];
for (const [, name, kind, labels] of page.matchAll(/^\| `(\w+)` \| (\w+) \| ([^|]*) \|/gm)) {
  const comesLater = MAY_BE_EMPTY.some((part) => name.startsWith(part)) && 'it appears with the first failure';
  const skip = comesLater || (name.startsWith('haproxy_') && withoutEdge);
  test(`${name} is in Prometheus, with its labels`, { skip }, async () => {
    const part = kind === 'histogram' ? '_bucket' : '';
    const named = [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => `${label}!=""`);
    await stack.prometheus.has(`${name}${part}{${named.join(',')}}`, 15_000);
  });
}

test("the collector's user of Redis may do what it does, and its password is in no line of its log", async () => {
  assert.deepEqual(await system.redis.command('ACL', 'LOG').then((log) => log.filter((entry) => entry.includes('command'))), []);
  assert.ok(!stack.collector.child.lines.join('\n').includes(PASSWORD));
});

test('an exemplar of the latency panel names a trace that opens', async () => {
  const query = 'traces_span_metrics_duration_seconds_bucket{span_name=~"socket .+"}';
  const trace = await until('an exemplar whose trace is in Jaeger', async () => {
    const now = Date.now() / 1000;
    const { data } = await stack.prometheus.get('/api/v1/query_exemplars', { query, start: now - 600, end: now });
    const ids = data.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels.trace_id));
    for (const id of ids.slice(0, 20)) {
      const found = await stack.jaeger.trace(id).catch(() => undefined);
      if (found?.length) return found;
    }
    return undefined;
  }, { within: 30_000, every: 500 });
  assert.ok(trace.some(({ name }) => name.startsWith('socket ')), JSON.stringify(trace[0]));
});

test('the three commands of the page show that it works', async () => {
  const [, block] = read('docs/reference/telemetry.md').match(/\n## Is it working\?\n[\s\S]*?```sh\n([\s\S]*?)```/);
  const here = block.replace(/\\\n\s*/g, '').replaceAll('http://127.0.0.1:9090', stack.prometheus.url).replaceAll('http://127.0.0.1:16686', stack.jaeger.url);
  const commands = [...here.matchAll(/^curl .+$/gm)].map(([command]) => command);
  const services = ['presence-gateway', 'presence-reaper', 'presence-state'];
  for (const [index, expected] of [services, services, ['socket presence:join', 'presence.join', 'EVALSHA presence_join']].entries()) {
    await until(commands[index], () => {
      const answer = execFileSync('sh', ['-c', commands[index]], { encoding: 'utf8' });
      return expected.every((text) => answer.includes(`"${text}"`));
    }, { within: 30_000, every: 1000 });
  }
});

test("the seed's query returns a number", async () => {
  const query = 'histogram_quantile(0.99, rate(presence_heartbeat_latency_bucket[5m]))';
  await until('a number', async () => (await stack.prometheus.query(query)).some(({ value }) => Number(value[1]) > 0), { within: 30_000 });
});

test('every series says which service and instance it is of', async () => {
  const { body } = await system.gateways[0].get('/version');
  const labels = `service_name="presence-gateway",service_namespace="rollcall",service_instance_id="${body.instance}"`;
  await stack.prometheus.has(`presence_connections_active{${labels},service_version="${body.version}",deployment_environment_name="development"}`);
});

test('in Loki, a log line carries the trace that opens in Jaeger', { skip: WITHOUT_LOKI }, async () => {
  const withTrace = '{service_namespace="rollcall"} | trace_id != ""';
  const { labels } = await until('a log line of a trace', async () => (await stack.loki.query(withTrace))[0], { within: 30_000, every: 300 });
  const trace = await until(`trace ${labels.trace_id}`, () => stack.jaeger.trace(labels.trace_id), { within: 15_000, every: 300 });
  assert.ok(trace.some(({ spanId }) => spanId === labels.span_id), `no span ${labels.span_id} in it`);
});

// The metrics that an expression selects.
function selected(expression) {
  const bare = expression.replace(/"(\\.|[^"\\])*"/g, '""').replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ');
  return [...bare.matchAll(/[a-zA-Z_:][\w:]*(?=\s*[{[])|\b[a-z][\w:]*_[\w:]+\b(?!\s*[(=!])/g)].map(([name]) => name)
    .filter((name) => !/^(histogram_quantile|label_replace|label_join|count_values|sum_over_time|avg_over_time|max_over_time|min_over_time|absent_over_time|last_over_time|present_over_time|predict_linear|clamp_min|clamp_max)$/.test(name));
}

test('every rule works, on metrics that exist', async () => {
  const rules = await until('every rule to be evaluated', async () => {
    const all = await stack.prometheus.rules();
    return all.every(({ health }) => health !== 'unknown') && all;
  }, { within: 30_000, every: 300 });
  assert.deepEqual(rules.filter(({ health }) => health !== 'ok').map(({ name, lastError }) => `${name}: ${lastError}`), []);
  const names = new Set(await stack.prometheus.metricNames());
  const unknown = rules.flatMap(({ name, query }) => selected(query).filter((metric) => !names.has(metric)).map((metric) => `${name}: ${metric}`));
  assert.deepEqual(unknown.filter((text) => !MAY_BE_EMPTY.some((part) => text.includes(part))), []);
});

const files = existsSync(pathOf(DASHBOARDS)) ? readdirSync(pathOf(DASHBOARDS)).filter((name) => name.endsWith('.json')) : [];

const panelsOf = (panels) => panels.flatMap((panel) => [panel, ...panelsOf(panel.panels ?? [])]);

// Grafana's own variables, and those of the dashboard, as "all".
function filledIn(text, dashboard) {
  const names = (dashboard.templating?.list ?? []).map(({ name }) => name);
  const own = { __rate_interval: '1m', __interval: '15s', __range: '15m', __range_s: '900', __interval_ms: '15000' };
  let filled = text;
  for (const [name, value] of Object.entries(own)) filled = filled.replaceAll(`$${name}`, value).replaceAll(`\${${name}}`, value);
  for (const name of names) filled = filled.replace(new RegExp(`\\$\\{${name}(:[^}]*)?\\}|\\$${name}\\b`, 'g'), '.*');
  return filled;
}

for (const file of files) {
  const dashboard = JSON.parse(read(`${DASHBOARDS}/${file}`));
  for (const panel of panelsOf(dashboard.panels)) {
    for (const target of panel.targets ?? []) {
      // The variable `datasource` as it is when a dashboard is opened.
      const uid = (target.datasource?.uid ?? panel.datasource?.uid).replace('${datasource}', 'prometheus');
      const skip = uid === 'loki' ? WITHOUT_LOKI : target.expr.includes('haproxy_') && withoutEdge;
      test(`${file}: ${panel.title} (${target.refId}) returns data`, { skip }, async (t) => {
        if (!['prometheus', 'loki'].includes(uid)) return t.diagnostic(`not a query of Prometheus or Loki but of ${uid}`);
        const expression = filledIn(target.expr, dashboard);
        const empty = MAY_BE_EMPTY.find((part) => target.expr.includes(part));
        if (empty) return stack[uid].query(expression);
        return until(`data of ${expression}`, async () => (await stack[uid].query(expression)).length > 0, { within: 20_000, every: 500 });
      });
    }
  }
}
