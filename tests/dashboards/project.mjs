// The project's telemetry, read from its sources: docs/reference/telemetry.md has the list of metrics and
// spans, deploy/ the rules, the dashboards and the datasources.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { parse } from 'yaml';

import { anchors, code } from '../harness/markdown.mjs';
import { pathOf, read } from '../harness/repository.mjs';

export const exists = (path) => existsSync(pathOf(path));
export const list = (folder, ending) =>
  exists(folder) ? readdirSync(pathOf(folder)).filter((name) => name.endsWith(ending)).sort().map((name) => join(folder, name)) : [];

/** The text of all Rust of the services and what they share. */
export function sources(folders = ['services', 'shared']) {
  const entries = folders.flatMap((folder) => readdirSync(pathOf(folder), { withFileTypes: true }).map((entry) => ({ entry, path: join(folder, entry.name) })));
  return entries.map(({ entry, path }) => {
    if (entry.isDirectory()) return sources([path]);
    return path.endsWith('.rs') ? read(path) : '';
  }).join('\n');
}

const page = read('docs/reference/telemetry.md');
export const section = (title) => page.split(`\n### ${title}\n`)[1]?.split(/\n##+ /)[0] ?? page.split(`\n## ${title}\n`)[1]?.split(/\n##+ /)[0];
export const rows = (text) => text.split('\n').filter((line) => line.startsWith('| `')).map((line) => line.split('|').slice(1, -1));

/** Everything in backticks in docs/reference/telemetry.md, outside of blocks. */
export const documented = new Set(code(page.replace(/```[\s\S]*?```/g, '')));

/** The table of metrics: OpenTelemetry's name, Prometheus' name, kind, labels. */
export const metrics = rows(section('Metrics')).map(([name, prometheus, kind, labels]) => ({
  name: code(name)[0], prometheus: code(prometheus)[0], kind: kind.trim(), labels: code(labels),
}));

/** What the table of a section has in its first column. */
export const tabled = (title) => rows(section(title)).flatMap(([names]) => code(names));

/** Whether there is a span of this name; `<…>` stands for anything. */
export const isSpan = (name) =>
  tabled('Spans').some((known) => new RegExp(`^${known.replace(/[.*+?^$()[\]\\]/g, '\\$&').replace(/<[^>]+>/g, '.+')}$`).test(name));

/** Labels that every series of a service has. */
export const EVERYWHERE = ['service_name', 'service_namespace', 'service_instance_id', 'service_version', 'deployment_environment_name'];

const rulesOf = (path) => parse(read(path)).groups.flatMap((group) => group.rules);
export const recordings = rulesOf('deploy/telemetry/prometheus/rules/recording.yml');
export const alerts = rulesOf('deploy/telemetry/prometheus/rules/alerts.yml');

/** Every series that exists, with its labels. */
export const series = new Map(
  metrics.flatMap(({ prometheus, kind, labels }) => {
    const parts = kind === 'histogram' ? ['_bucket', '_count', '_sum'] : [''];
    return parts.map((part) => [prometheus + part, [...labels, ...EVERYWHERE, ...(part === '_bucket' ? ['le'] : [])]]);
  }),
);
// Those of Redis, the edge and the collector: the page names what panels and rules use of them.
for (const [name, kind, labels] of rows(section('Metrics of Redis, the edge and the collector'))) {
  const parts = kind.trim() === 'histogram' ? ['_bucket', '_count', '_sum'] : [''];
  for (const part of parts) series.set(code(name)[0] + part, [...code(labels), ...(part === '_bucket' ? ['le'] : [])]);
}
for (const { record, expr } of recordings) series.set(record, series.get(expr.trim()) ?? []);
series.set('ALERTS', ['alertname', 'alertstate', 'severity', ...EVERYWHERE]);
// When an alert began to fire or to be pending, as a time.
series.set('ALERTS_FOR_STATE', ['alertname', 'severity', ...EVERYWHERE]);

export const dashboards = list('deploy/telemetry/grafana/dashboards', '.json').map((path) => ({ path, board: JSON.parse(read(path)) }));
// A row is a heading.
export const panels = dashboards.flatMap(({ path, board }) =>
  board.panels.filter(({ type }) => type !== 'row').map((panel) => ({ path, panel, where: `${path}, "${panel.title}"` })));

/** The datasources, from whichever file provisions them. */
export function provisioned() {
  const folder = 'deploy/telemetry/grafana/provisioning/datasources';
  const files = [...list(folder, '.yaml'), ...list(folder, '.yml')];
  return files.flatMap((path) => parse(read(path)).datasources ?? []);
}

/** Whether a link `path#anchor` in this repository leads somewhere. */
export function leads(link) {
  const [path, anchor] = link.split('#');
  return exists(path) && (anchor === undefined || anchors(read(path)).has(anchor));
}
