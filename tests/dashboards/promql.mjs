// PromQL, read with Prometheus' own grammar: what a query names, and whether there is such a thing.
import { parser } from '@prometheus-io/lezer-promql';

import { series } from './project.mjs';

// Labels that a query makes itself.
const OWN = new Set(['alertname']);

/** Everything that is wrong with a query, as sentences. */
export function complaints(query) {
  const text = query.replaceAll('$__rate_interval', '1m').replaceAll('$__range', '1h');
  const found = [];
  const at = (node) => text.slice(node.from, node.to);
  const named = [];
  const tree = parser.parse(text);
  tree.iterate({
    enter(node) {
      if (node.type.isError) found.push(`does not parse at "${text.slice(node.from, node.from + 20)}"`);
      if (node.name !== 'VectorSelector') return;
      const identifier = node.node.getChild('Identifier');
      if (!identifier) return void found.push(`selects without a name: ${at(node)}`);
      const name = at(identifier);
      if (!series.has(name)) return void found.push(`there is no ${name}`);
      named.push(name);
      const matchers = node.node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? [];
      for (const matcher of matchers) {
        const label = at(matcher.getChild('LabelName'));
        if (!series.get(name).includes(label)) found.push(`${name} has no label ${label}`);
      }
    },
  });
  const known = new Set(named.flatMap((name) => series.get(name)));
  tree.iterate({
    enter(node) {
      if (node.name !== 'GroupingLabels') return;
      for (const child of node.node.getChildren('LabelName')) {
        if (!known.has(at(child)) && !OWN.has(at(child))) found.push(`groups by ${at(child)}, which nothing in it has`);
      }
    },
  });
  return found;
}

/** The series that a query names. */
export function names(query) {
  const text = query.replaceAll('$__rate_interval', '1m').replaceAll('$__range', '1h');
  const found = [];
  parser.parse(text).iterate({
    enter(node) {
      const identifier = node.name === 'VectorSelector' && node.node.getChild('Identifier');
      if (identifier) found.push(text.slice(identifier.from, identifier.to));
    },
  });
  return found;
}
