// LogQL, read with Loki's own grammar: which labels and fields a query names, and whether log lines have them.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { parser } from '@grafana/lezer-logql';

import { FIELDS, LABELS } from '../harness/log-fields.mjs';
import { pathOf, read } from '../harness/repository.mjs';
import { dashboards, panels, provisioned } from './project.mjs';

const ANYWHERE = new Set([...LABELS, ...FIELDS]);

/** Everything that is wrong with a query, as sentences. */
export function complaints(query) {
  const text = query.replace(/\$__(interval|range|auto)\b/g, '5m');
  const found = [];
  let selects = 0;
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) found.push(`does not parse at "${text.slice(node.from, node.from + 20)}"`);
      if (node.name === 'Selector') selects += 1;
      if (node.name !== 'Identifier') return;
      const name = text.slice(node.from, node.to);
      const isSelector = within(node.node, 'Selector');
      if (isSelector && !LABELS.includes(name)) found.push(`no stream has the label ${name}`);
      if (!isSelector && !ANYWHERE.has(name)) found.push(`no line has the field ${name}`);
    },
  });
  if (selects === 0) found.push('selects no stream');
  return found;
}

function within(node, name) {
  for (let at = node.parent; at; at = at.parent) if (at.name === name) return true;
  return false;
}

const below = (folder) => readdirSync(pathOf(folder), { recursive: true }).filter((path) => path.endsWith('.md')).map((path) => join(folder, path));
const pages = ['README.md', 'ARCHITECTURE.md', ...below('docs'), ...below('deploy')];

const ofPages = pages.flatMap((path) => [...read(path).matchAll(/```logql\n([\s\S]*?)```/g)].flatMap(([, block]) =>
  block.trim().split(/\n\n/).map((query) => ({ where: path, query }))));

const ofPanels = panels.flatMap(({ panel, where }) => panel.targets.filter(({ datasource }) => datasource.type === 'loki')
  .map(({ expr }) => ({ where, query: expr })));

const ofVariables = dashboards.flatMap(({ path, board }) => (board.templating?.list ?? []).filter(({ datasource }) => datasource?.type === 'loki')
  .map(({ name, query }) => ({ where: `${path}, variable ${name}`, query: query.query ?? query })));

const ofDatasources = provisioned().filter(({ jsonData }) => jsonData?.tracesToLogsV2)
  .map(({ name, jsonData }) => ({ where: `datasource ${name}`, query: jsonData.tracesToLogsV2.query }));

/** Every query of the project, with its place. */
export const queries = [...ofPages, ...ofPanels, ...ofVariables, ...ofDatasources];

/** The fields of which the datasource Loki makes links. */
export const linked = provisioned().flatMap(({ jsonData }) => jsonData?.derivedFields ?? [])
  .map(({ matcherType, matcherRegex }) => ({ matcherType, name: matcherRegex }));
