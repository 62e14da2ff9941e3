// The dashboards of Grafana, as far as they can be checked without one: that they are what its schema says, and that
// whatever they name exists.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { alerts, dashboards, isSpan, leads, metrics, panels, provisioned, recordings } from './project.mjs';
import { complaints, names } from './promql.mjs';
import { typeErrors } from './types.mjs';

const UIDS = {
  'presence-overview.json': 'rollcall-overview', 'latency-and-redis.json': 'rollcall-latency',
  'infrastructure.json': 'rollcall-infrastructure',
  'metadata-locks-reaper.json': 'rollcall-metadata', 'services.json': 'rollcall-services',
};
const queries = panels.flatMap(({ panel, where }) => panel.targets.map((target) => ({ ...target, where })));
const links = panels.flatMap(({ panel, where }) => (panel.fieldConfig.defaults.links ?? []).map((link) => ({ ...link, where })));

test('all are there, under their uids, and each panel has a number and a place of its own', () => {
  assert.deepEqual(Object.fromEntries(dashboards.map(({ path, board }) => [path.split('/').pop(), board.uid])), UIDS);
  for (const { path, board } of dashboards) {
    assert.equal(board.schemaVersion, 42, path);
    const taken = new Set();
    for (const { id, title, gridPos: { x, y, w, h } } of board.panels) {
      assert.ok(!taken.has(id) && x + w <= 24, `${path}, "${title}"`);
      taken.add(id);
      for (let column = x; column < x + w; column += 1) {
        for (let row = y; row < y + h; row += 1) {
          assert.ok(!taken.has(`${column},${row}`), `${path}, "${title}" lies on another panel`);
          taken.add(`${column},${row}`);
        }
      }
    }
  }
});

test("each is what Grafana's schema says", () => assert.equal(typeErrors(dashboards), ''));

test('what is no dashboard is found out', () => {
  const [{ board }] = dashboards;
  const first = board.panels.find((panel) => panel.type === 'timeseries');
  const spoilt = (change) => {
    const panel = structuredClone(first);
    change(panel);
    return { path: 'spoilt', board: { ...board, panels: [panel] } };
  };
  const errors = typeErrors([
    spoilt((panel) => { panel.options.tooltip.mode = 'many'; }),
    spoilt((panel) => { panel.fieldConfig.defaults.custom.lineWith = 2; }),
    spoilt((panel) => { panel.targets[0].expression = 'up'; }),
    { path: 'spoilt', board: { ...board, panel: [] } },
  ]);
  for (const number of [0, 1, 2, 3]) assert.match(errors, new RegExp(`dashboard-${number}[.]ts.*error TS2`));
});

test('each panel asks a question, explains the answer, and has units and a runbook that exists', () => {
  for (const { panel, where } of panels) {
    assert.match(panel.title, /\?$/, where);
    assert.ok(panel.description.length > 5, where);
    if (panel.type !== 'logs') assert.ok(panel.fieldConfig.defaults.unit, `${where} has no unit`);
    assert.equal(panel.links.length, 1, where);
    const [, link] = panel.links[0].url.match(/^\$\{runbooks:raw\}(docs\/operate\/runbooks\/.+)$/) ?? [];
    assert.ok(link && leads(link), `${where}: ${panel.links[0].url}`);
  }
});

test('each datasource is provisioned, or the one that the dashboard lets its user choose', () => {
  const known = new Map(provisioned().map(({ uid, type }) => [uid, type]));
  for (const { path, board } of dashboards) {
    const { query, current } = variable(board, 'datasource');
    assert.equal(known.get(current.value), query, path);
  }
  known.set('${datasource}', 'prometheus');
  const used = [...panels.flatMap(({ panel }) => [panel.datasource, ...panel.targets.map((target) => target.datasource)]),
    ...links.flatMap(({ url }) => panesOf(url).flatMap((pane) => pane.queries.map((query) => query.datasource)))];
  for (const { uid, type } of used) assert.equal(known.get(uid), type, uid);
});

test('each query can be read, and names metrics and labels that exist', () => {
  const wrong = queries.filter(({ datasource }) => datasource.type === 'prometheus').flatMap(({ expr, where }) =>
    complaints(expr).map((complaint) => `${where}: ${complaint}`));
  assert.deepEqual(wrong, []);
  assert.deepEqual(complaints('sum by (nobody) (rate(presence_operation_total{who="x"}[$__rate_interval])) + no_such_total'), [
    'presence_operation_total has no label who', 'there is no no_such_total', 'groups by nobody, which nothing in it has']);
  assert.match(complaints('sum(rate(presence_gap_total[5m])').join(), /does not parse/);
});

test('each annotation can be read: starts of instances, and alerts', () => {
  for (const { path, board } of dashboards) {
    assert.deepEqual(board.annotations.list.map(({ name }) => name), ['Starts', 'Alerts'], path);
    for (const { expr, datasource } of board.annotations.list) {
      assert.equal(datasource.uid, '${datasource}', path);
      assert.deepEqual(complaints(expr), [], path);
    }
  }
});

test('services and instances can be chosen, and each panel about instances obeys', () => {
  for (const [name, wanted] of [['services.json', ['service', 'instance']], ['latency-and-redis.json', ['instance']]]) {
    const { board } = dashboards.find(({ path }) => path.endsWith(name));
    for (const which of wanted) {
      const { query: { query }, multi, includeAll } = variable(board, which);
      const [, selector, label] = query.match(/^label_values\((.+), (\w+)\)$/);
      assert.deepEqual([complaints(selector), multi, includeAll], [[], true, true], which);
      assert.equal(label, `service_${which}`.replace('service_service', 'service_name').replace('service_instance', 'service_instance_id'));
    }
  }
  const own = queries.filter(({ where, expr }) => where.includes('services.json') && /service_instance_id\)/.test(expr));
  assert.ok(own.length > 8);
  for (const { expr, where } of own) assert.match(expr, /service_name=~"\$service", service_instance_id=~"\$instance"/, where);
});

test('one panel shows exemplars, of spans that exist', () => {
  const [query, ...others] = queries.filter(({ exemplar }) => exemplar);
  assert.deepEqual(others, []);
  assert.match(query.expr, /_bucket\{span_name=~"socket \.\+"\}/);
  const prometheus = provisioned().find(({ uid }) => uid === 'prometheus');
  assert.deepEqual(prometheus.jsonData.exemplarTraceIdDestinations, [{ name: 'trace_id', datasourceUid: 'jaeger' }]);
});

test('what a legend fills in is a label of the answer', () => {
  for (const { legendFormat = '', expr, where } of queries) {
    const kept = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels]) => labels.split(/,\s*/));
    for (const [, label] of legendFormat.matchAll(/{{\s*(\w+)\s*}}/g)) assert.ok(kept.includes(label), `${where}: ${label}`);
  }
});

test('each metric is on a dashboard or in a rule: unused metrics need not be counted', () => {
  const used = new Set([...queries, ...alerts, ...recordings].flatMap(({ expr }) => names(expr)));
  const unused = metrics.filter(({ prometheus }) => !['', '_bucket', '_count', '_sum'].some((part) => used.has(prometheus + part)));
  assert.deepEqual(unused.map(({ name }) => name), []);
});

test('each link to traces can be read, and asks for spans that exist', () => {
  assert.ok(links.length > 10);
  for (const { url, where } of links) {
    for (const { datasource, queries: [query], range } of panesOf(url)) {
      assert.equal(datasource, 'jaeger', where);
      assert.deepEqual(range, { from: '${__from}', to: '${__to}' }, where);
      assert.match(query.service, /^presence-(gateway|state|reaper)$/, where);
      const operation = query.operation?.replace(/\$\{[^}]+\}/, 'presence_join');
      assert.ok(operation === undefined || operation === 'presence_join' || isSpan(operation), `${where}: ${operation}`);
    }
  }
});

const variable = (board, wanted) => board.templating.list.find(({ name }) => name === wanted);

function panesOf(url) {
  const { searchParams } = new URL(url, 'http://grafana');
  assert.equal(searchParams.get('schemaVersion'), '1');
  return Object.values(JSON.parse(searchParams.get('panes')));
}
