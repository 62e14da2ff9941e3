// Logs, as far as they can be checked without Loki: queries, and Loki's own file. That lines have these labels and fields is
// for ./dev test stack to say (tests/stack/logs.test.mjs).
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parse } from 'yaml';

import { FIELDS, LABELS } from '../harness/log-fields.mjs';
import { read } from '../harness/repository.mjs';
import { complaints, linked, queries } from './logql.mjs';

test('each query of logs can be read, and names labels and fields that lines have', () => {
  for (const part of ['docs/reference/telemetry.md', 'docs/operate/runbooks/', 'deploy/telemetry/grafana/dashboards/', 'datasource Jaeger']) {
    assert.ok(queries.some(({ where }) => where.startsWith(part)), `no query was found in ${part}`);
  }
  assert.deepEqual(queries.flatMap(({ where, query }) => complaints(query).map((complaint) => `${where}: ${complaint}`)), []);
});

test('what is no query, or names what no line has, is found out', () => {
  assert.deepEqual(complaints('{service_name="a"} |= "b" | room="c" | severity_text!="INFO"'), []);
  assert.deepEqual(complaints('sum by (service_name) (count_over_time({service_namespace="rollcall"} | trace_id!="" [$__interval]))'), []);
  assert.deepEqual(complaints('{app="a", trace_id="b"} | level="c" | count > 3'), [
    'no stream has the label app', 'no stream has the label trace_id', 'no line has the field level', 'no line has the field count']);
  assert.deepEqual(complaints('sum by (pod) (rate({service_name="a"}[5m]))'), ['no line has the field pod']);
  assert.match(complaints('{service_name="a"').join(), /does not parse/);
  assert.match(complaints('').join(), /selects no stream/);
});

test('a link from a log line to its trace is made of a field that lines have', () => {
  assert.ok(linked.length > 0);
  for (const { matcherType, name } of linked) assert.ok(matcherType === 'label' && [...LABELS, ...FIELDS].includes(name), name);
});

const text = read('deploy/telemetry/loki/loki.yaml');
// As Loki's -config.expand-env=true does where no variable is set.
const loki = parse(text.replace(/\$\{\w+:-?([^}]*)\}/g, '$1'));
const hours = (duration) => Number(duration.match(/^(\d+)h$/)[1]);

test('each variable of loki.yaml has a default, one and the same, that its head documents', () => {
  const used = [...text.matchAll(/\$\{([^}]*)\}/g)].map(([, reference]) => reference.split(':-'));
  const documented = Object.fromEntries([...text.matchAll(/^# {3}(LOKI_[A-Z_]+) +(\S+) {2,}\S/gm)].map(([, name, value]) => [name, value]));
  for (const [name, value] of used) assert.equal(documented[name], value, name);
  assert.deepEqual(Object.keys(documented).sort(), [...new Set(used.map(([name]) => name))].sort());
  assert.match(read('.env.example'), new RegExp(`^#LOKI_RETENTION=${documented.LOKI_RETENTION}$`, 'm'));
});

test('Loki deletes what is older than its retention: a compactor does it, in whole days, where the chunks are', () => {
  const { limits_config: limits, compactor, common, schema_config: { configs: [schema] } } = loki;
  assert.ok(hours(limits.retention_period) >= 24 && hours(schema.index.period) === 24, 'retention works on indexes of a day');
  assert.equal(compactor.retention_enabled, true);
  assert.equal(compactor.delete_request_store, schema.object_store);
  assert.ok(schema.object_store in common.storage, schema.object_store);
  assert.ok(compactor.working_directory.startsWith(`${common.path_prefix}/`), compactor.working_directory);
});

test('Loki accepts OTLP: fields next to the line, on a schema that has them, from any sender', () => {
  const { limits_config: limits, schema_config: { configs: [schema] } } = loki;
  assert.equal(limits.allow_structured_metadata, true);
  assert.deepEqual([schema.store, Number(schema.schema.slice(1)) >= 13], ['tsdb', true]);
  assert.equal(loki.auth_enabled, false);
  // The default is the list of resource attributes that LABELS is checked against.
  assert.equal(loki.distributor?.otlp_config ?? limits.otlp_config, undefined);
  assert.equal(loki.analytics.reporting_enabled, false);
});
