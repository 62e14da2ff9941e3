// The files themselves, by the programs that read them: nothing that is deprecated, nothing that is not understood.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { ROOT, read } from '../harness/repository.mjs';
import { Stack, WITHOUT_LOKI, toolPath } from '../harness/stack.mjs';
import { until } from '../harness/until.mjs';

const run = (program, args, env = process.env) => spawnSync(toolPath(program), args, { cwd: ROOT, encoding: 'utf8', env });

function accepts(program, args, env) {
  const { status, stdout, stderr } = run(program, args, env);
  assert.equal(status, 0, stdout + stderr);
  return stdout + stderr;
}

for (const exporter of ['otlp_http/loki', 'nop']) {
  test(`the collector's own validate accepts otel-collector.yaml with logs to ${exporter}, and warns of nothing`, () => {
    const env = { ...process.env, COLLECTOR_LOGS_EXPORTER: exporter };
    assert.doesNotMatch(accepts('otelcol-contrib', ['validate', '--config=otel-collector.yaml'], env), /deprecat|warn/i);
  });
}

test("the collector's own validate accepts the file for Redis' own metrics", () => {
  const files = ['otel-collector.yaml', 'deploy/telemetry/collector/redis.yaml'].map((file) => `--config=${file}`);
  const env = { ...process.env, COLLECTOR_REDIS_PASSWORD_FILE: '/dev/null' };
  assert.doesNotMatch(accepts('otelcol-contrib', ['validate', ...files], env), /deprecat|warn/i);
});

test('the collector refuses logs to an exporter that does not exist', () => {
  const env = { ...process.env, COLLECTOR_LOGS_EXPORTER: 'elsewhere' };
  const { status, stderr } = run('otelcol-contrib', ['validate', '--config=otel-collector.yaml'], env);
  assert.notEqual(status, 0);
  assert.match(stderr, /elsewhere/);
});

test('Jaeger accepts its file', () => accepts('jaeger', ['validate', '--config=deploy/telemetry/jaeger/jaeger.yaml']));

test('promtool accepts the configuration and every rule', () => {
  assert.match(accepts('promtool', ['check', 'config', 'deploy/telemetry/prometheus/prometheus.yml']), /SUCCESS/);
});

test('Loki accepts its file', { skip: WITHOUT_LOKI }, () => {
  accepts('loki', ['-config.file=deploy/telemetry/loki/loki.yaml', '-config.expand-env=true', '-verify-config']);
});

test('every uid that a file of Grafana names is provisioned', () => {
  const sources = read('deploy/telemetry/grafana/provisioning/datasources/rollcall.yaml');
  const uids = [...sources.matchAll(/^ {4}uid: (\S+)$/gm)].map(([, uid]) => uid);
  assert.deepEqual(uids, ['prometheus', 'jaeger', 'loki', 'alertmanager']);
  for (const [, uid] of sources.matchAll(/datasourceUid: (\S+)/g)) assert.ok(uids.includes(uid), uid);
});

test('without secrets the Alertmanager starts, and names the missing file when it has to notify', async () => {
  const stack = await Stack.start({ secrets: false });
  try {
    const log = stack.alertmanager.child.line((line) => (/secrets\/slack_api_url/.test(line) ? line : undefined));
    const alert = { labels: { alertname: 'Trial', severity: 'warning' }, annotations: { summary: 'a trial' } };
    const response = await fetch(`${stack.alertmanager.url}/api/v2/alerts`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify([alert]),
    });
    assert.equal(response.status, 200);
    assert.match(await log, /no such file/);
    const shown = await stack.alertmanager.get('/api/v2/alerts');
    assert.ok(shown.some(({ labels }) => labels.alertname === 'Trial'), JSON.stringify(shown));
  } finally {
    await stack.close();
  }
});

test('the collector itself starts without a warning, and without any store', async () => {
  const stack = await Stack.start();
  try {
    const warnings = stack.collector.child.lines.filter((line) => /\t(warn|error)\t/.test(line) && /deprecat|legacy/i.test(line));
    assert.deepEqual(warnings, []);
    const stores = [stack.jaeger, stack.prometheus, stack.loki].filter(Boolean);
    await Promise.all(stores.map(({ child }) => child.kill()));
    await until('the collector to stay healthy', async () => (await fetch(stack.collector.url)).ok);
  } finally {
    await stack.close();
  }
});
