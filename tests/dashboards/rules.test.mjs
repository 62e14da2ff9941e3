// Alerts and recording rules. Whether they fire when they must is for promtool (deploy/telemetry/prometheus/tests): it runs here
// when PROMTOOL names it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { ROOT, read } from '../harness/repository.mjs';
import { alerts, dashboards, leads, list, recordings } from './project.mjs';
import { complaints } from './promql.mjs';

test('each rule can be read, and names metrics and labels that exist', () => {
  const wrong = [...alerts, ...recordings].flatMap(({ alert, record, expr }) =>
    complaints(expr).map((complaint) => `${alert ?? record}: ${complaint}`));
  assert.deepEqual(wrong, []);
});

test('each alert says how urgent it is, what happened, which page helps and which dashboard shows it', () => {
  const boards = dashboards.map(({ board }) => board.uid);
  for (const { alert, labels, annotations } of alerts) {
    assert.match(labels.severity, alert === 'Watchdog' ? /^none$/ : /^(critical|warning)$/, alert);
    assert.ok(annotations.summary.length <= 120, `${alert}: the summary is long for a telephone`);
    assert.match(annotations.description, /^[A-Z].+\.$/, alert);
    const [, link] = annotations.runbook_url.match(/^\{\{ \$externalLabels\.runbooks \}\}(docs\/operate\/runbooks\/.+)$/) ?? [];
    assert.ok(link && leads(link), `${alert}: ${annotations.runbook_url}`);
    assert.ok(read(link.split('#')[0]).includes(alert), `${link} does not name ${alert}`);
    const [, uid] = annotations.dashboard_url.match(/^\{\{ \$externalLabels\.grafana \}\}\/d\/(.+)$/) ?? [];
    assert.ok(boards.includes(uid), `${alert}: ${annotations.dashboard_url}`);
  }
});

test('each alert has a section on the page of alerts, which says how urgent it is', () => {
  const page = read('docs/operate/runbooks/alerts.md');
  for (const { alert, labels: { severity } } of alerts) {
    const section = page.split(`\n## ${alert}\n`)[1]?.split(/\n##? /)[0];
    assert.ok(section, alert);
    if (severity !== 'none') assert.match(section, severity === 'critical' ? /\*Critical\.\*/ : /\*Warning\.\*/, alert);
  }
});

test('symptoms page, except three; of the causes, those four without a symptom of their own', () => {
  const isSymptom = (name) => /^Heartbeat|^ErrorBudget|^JoinsSlow$/.test(name);
  const names = (severity) => alerts.filter(({ labels }) => labels.severity === severity).map(({ alert }) => alert);
  assert.deepEqual(names('critical').filter((name) => !isSymptom(name)).sort(), ['RedisUnreachable', 'RestoresStuck', 'ServiceGone', 'SubscriptionDeaf']);
  // The first two are budgets that run out in the course of the month.
  assert.deepEqual(names('warning').filter(isSymptom).sort(), ['ErrorBudgetOverspent', 'HeartbeatBudgetOverspent', 'JoinsSlow']);
});

test('the alert on slow heartbeats needs no recorded series, so it fires where only its own file is loaded', () => {
  const { expr } = alerts.find(({ alert }) => alert === 'HeartbeatsSlow');
  for (const { record } of recordings) assert.ok(!new RegExp(`\\b${record}\\b`).test(expr), record);
});

test('each alert has a test in which it fires and one in which it is silent', () => {
  const tests = list('deploy/telemetry/prometheus/tests', '.test.yml').map(read).join('\n');
  for (const { alert } of alerts) {
    assert.match(tests, new RegExp(`"${alert}", alertstate="firing"|alertname: ${alert}\\n`), `${alert} never fires`);
    const family = alert.startsWith('Subscription') ? 'Subscription.+' : alert;
    const silent = [`alertname: ${alert}, eval_time: \\S+ exp_alerts: \\[\\]`, `"${family.replace('.+', '\\.\\+')}", alertstate="firing"\\}\\[`];
    // The Watchdog always fires: that is what it is for.
    if (alert !== 'Watchdog') assert.match(tests, new RegExp(silent.join('|')), `${alert} is never silent`);
  }
});

test('promtool: the rules are understood, and fire when they must', () => {
  assert.ok(process.env.PROMTOOL, 'the variable PROMTOOL has to name promtool; ./dev test stack does');
  for (const [verb, files] of [['check', list('deploy/telemetry/prometheus/rules', '.yml')], ['test', list('deploy/telemetry/prometheus/tests', '.test.yml')]]) {
    const { status, stdout, stderr } = spawnSync(process.env.PROMTOOL, [verb, 'rules', ...files], { cwd: ROOT, encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
  }
});
