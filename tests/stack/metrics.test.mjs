// What Prometheus and Loki have while a system does everything that it can do: every metric of the table, the seed's
// query, what each rule and each panel of each dashboard asks for, and a log line that opens its trace.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { METRICS } from '../harness/metrics.mjs';
import { ROOT, Stack, WITHOUT_LOKI, read } from '../harness/stack.mjs';
import { SHORT_LIVES, System } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';
import { everything } from '../harness/usage.mjs';

const DASHBOARDS = 'deploy/telemetry/grafana/dashboards';
// Queries that have nothing to show in a healthy system, by a part of them, and why.
const MAY_BE_EMPTY = [];

let stack;
let system;
let usage;

before(async () => {
  stack = await Stack.start({ collector: { COLLECTOR_SAMPLE_PERCENT: '100' } });
  system = await System.start({
    gateways: 2, states: 2, env: { ...stack.env, ...SHORT_LIVES, DEPLOYMENT_ENVIRONMENT: 'development' },
  });
  // Without a limit there is no share of it.
  await system.redis.command('CONFIG', 'SET', 'maxmemory', '512mb');
  usage = everything(system);
  await usage.begin();
});

after(async () => {
  await usage?.stop();
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

const files = existsSync(join(ROOT, DASHBOARDS)) ? readdirSync(join(ROOT, DASHBOARDS)).filter((name) => name.endsWith('.json')) : [];

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
      const uid = target.datasource?.uid ?? panel.datasource?.uid;
      const skip = uid === 'loki' && WITHOUT_LOKI;
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
