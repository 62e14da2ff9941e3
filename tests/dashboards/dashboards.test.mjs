// The dashboards of Grafana, as far as they can be checked without one: that they are what its schema says, and that
// whatever they name exists.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { alerts, dashboards, isSpan, leads, metrics, panels, provisioned, recordings } from './project.mjs';
import { complaints, names } from './promql.mjs';
import { typeErrors } from './types.mjs';

const UIDS = {
  'presence-overview.json': 'rollcall-overview', 'latency-and-redis.json': 'rollcall-latency',
  'metadata-locks-reaper.json': 'rollcall-metadata', 'services.json': 'rollcall-services',
};
const queries = panels.flatMap(({ panel, where }) => panel.targets.map((target) => ({ ...target, where })));
const links = panels.flatMap(({ panel, where }) => (panel.fieldConfig.defaults.links ?? []).map((link) => ({ ...link, where })));

test('the four are there, under their uids, and each panel has a number and a place of its own', () => {
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
    const [, link] = panel.links[0].url.match(/^\$\{runbooks:raw\}(docs\/runbooks\/.+)$/) ?? [];
    assert.ok(link && leads(link), `${where}: ${panel.links[0].url}`);
  }
});

test('each datasource is provisioned', () => {
  const known = new Map(provisioned().map(({ uid, type }) => [uid, type]));
  const used = [...panels.flatMap(({ panel }) => [panel.datasource, ...panel.targets.map((target) => target.datasource)]),
    ...links.flatMap(({ url }) => panesOf(url).flatMap((pane) => pane.queries.map((query) => query.datasource)))];
  for (const { uid, type } of used) assert.equal(known.get(uid), type, uid);
});

test('each query can be read, and names metrics and labels that exist', () => {
  const wrong = queries.filter(({ datasource }) => datasource.uid === 'prometheus').flatMap(({ expr, where }) =>
    complaints(expr).map((complaint) => `${where}: ${complaint}`));
  assert.deepEqual(wrong, []);
  assert.deepEqual(complaints('sum by (nobody) (rate(presence_operation_total{who="x"}[$__rate_interval])) + no_such_total'), [
    'presence_operation_total has no label who', 'there is no no_such_total', 'groups by nobody, which nothing in it has']);
  assert.match(complaints('sum(rate(presence_gap_total[5m])').join(), /does not parse/);
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

function panesOf(url) {
  const { searchParams } = new URL(url, 'http://grafana');
  assert.equal(searchParams.get('schemaVersion'), '1');
  return Object.values(JSON.parse(searchParams.get('panes')));
}
