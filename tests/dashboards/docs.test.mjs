// docs/reference/telemetry.md and the runbooks describe what exists.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { code } from '../harness/markdown.mjs';
import { read } from '../harness/repository.mjs';
import { documented, isSpan, leads, list, metrics, panels, rows, section, sources, tabled } from './project.mjs';
import { complaints } from './promql.mjs';

const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

const pages = ['docs/reference/telemetry.md', ...list('docs/operate/runbooks', '.md')];

// Names in the code of a file, its tests left out, each once.
const found = (path, pattern) => [...new Set([...read(path).split('#[cfg(test)]')[0].matchAll(pattern)].map(([, name]) => name))];

test('the table of attributes has what the spans have, and no more', () => {
  // Fields of a span, what is recorded later, and what the spans without tracing set.
  const made = [/\b([a-z_]+(?:\.[a-z_]+)+)"? = /g, /record\("([a-z_.]+)"/g, /KeyValue::new\("([a-z_.]+)"/g]
    .flatMap((pattern) => ['span', 'heartbeat'].flatMap((file) => found(`shared/telemetry/src/${file}.rs`, pattern)));
  // tracing's own names for what a span is, and the event of every failure, which has a paragraph.
  const attributes = new Set(made.filter((name) => !/^(otel|exception)\./.test(name)));
  assert.ok(attributes.size > 40);
  assert.deepEqual(tabled('Attributes').sort(), [...attributes].sort());
});

test('each attribute is on the spans that the table says, and on no others', () => {
  const [source, ...rest] = read('shared/telemetry/src/span.rs').split('#[cfg(test)]');
  assert.equal(rest.length, 0);
  const made = new Map([...source.matchAll(/^pub fn (\w+)\([\s\S]*?^}/gm)].map(([body, name]) => [name, body]).filter(([, body]) => body.includes('info_span!')));
  // What a family of spans is called in the table, and the functions that make it.
  const families = [[/^socket [^.]*$/, 'socket_event'], [/^socket\.(connect|\*)$/, 'socket_connect'], [/^socket\.(disconnect|\*)$/, 'socket_disconnect'],
    [/^publish /, 'publish'], [/^deliver /, 'deliver'], [/^presence\./, 'presence'], [/^metadata\./, 'metadata'], [/^lock\./, 'lock'], [/^reaper\.cycle$/, 'reaper_cycle']];
  for (const [attributes, on] of rows(section('Attributes')).filter(([, on]) => code(on).length > 0 && !on.includes(' event '))) {
    const said = code(on).flatMap((name) => families.filter(([pattern]) => pattern.test(name)).map(([, family]) => family));
    for (const attribute of code(attributes)) {
      const field = new RegExp(`\\b${literal(attribute)}"? = `);
      const has = families.map(([, family]) => family).filter((family) => field.test(made.get(family)));
      assert.deepEqual([...new Set(said)].sort(), has.sort(), attribute);
    }
  }
});

test('the table of spans has what the services make, and no more', () => {
  const own = found('shared/telemetry/src/span.rs', /target: TRACE,(?: parent: None,)? "([a-z]+[. ][a-z.]+)"/g);
  const events = found('services/gateway/src/socket/events.rs', /Operation::\w+, "([a-zA-Z:]+)"\)/g).map((event) => `socket ${event}`);
  const messages = found('shared/bus/src/publisher/outbox.rs', /span::publish\("([a-z.]+)"/g).map((subject) => `publish ${subject}`);
  const commands = [...read('shared/protocol/src/command/mod.rs').matchAll(/=> \("([a-z]+)", (?:"([a-z]+)"|c\.)/g)].flatMap(([, group, verb]) => {
    if (verb) return [`${group}.${verb}`];
    return found(`shared/protocol/src/command/${group}.rs`, /=> "([a-z]+)",/g).map((name) => `${group}.${name}`);
  });
  // What a name's time is renewed with is a part of another command.
  const made = [...own, ...events, ...messages, ...commands.filter((name) => name !== 'metadata.renew'), 'EVALSHA <script>', '<command>'];
  assert.ok(made.length > 35);
  assert.deepEqual(tabled('Spans').sort(), [...made].sort());
});

test('the page has every script, and every value of the labels that tell reasons apart', () => {
  const scripts = [...sources().matchAll(/(?:Script::new|\bscript)\(\s*"([a-z]+_[a-z]+)"/g)].map(([, name]) => name)
    .filter((name) => !/^(lock|count)_/.test(name));
  assert.ok(scripts.length > 12);
  assert.deepEqual(scripts.filter((name) => !documented.has(name)), []);
  const reasons = found('shared/telemetry/src/metrics/refusal.rs', /=> "([a-z_]+)"/g);
  const outcomes = found('services/presence-state/src/locks.rs', /\("([a-z]+)", (?:None|Some|holder)/g);
  const row = (name) => read('docs/reference/telemetry.md').split('\n').find((line) => line.startsWith(`| \`${name}\``));
  assert.ok(reasons.length >= 17 && outcomes.length >= 8);
  assert.deepEqual(reasons.filter((reason) => !row('presence.refused.total').includes(`\`${reason}\``)), []);
  assert.deepEqual(outcomes.filter((outcome) => !row('lock.outcome').includes(`\`${outcome}\``)), []);
});

test('each metric in the code is in the table, and each in the table is in the code', () => {
  const files = ['shared/telemetry/src/metrics.rs', ...list('shared/telemetry/src/metrics', '.rs')];
  const source = files.map(read).join('\n');
  const inCode = [...source.matchAll(/"([a-z_]+(?:\.[a-z_]+)+)", "(?:s|By|\{\w+\}|)"|latency\("([a-z_.]+)"|histogram\("([a-z_.]+)"/g)].map((found) => found[1] ?? found[2] ?? found[3]);
  const inTable = metrics.map(({ name }) => name);
  assert.deepEqual(inCode.filter((name) => !inTable.includes(name)), []);
  assert.deepEqual(inTable.filter((name) => !source.includes(`"${name}"`)), []);
});

test('each Rust example on the page is code that compiles', () => {
  const source = read('shared/telemetry/examples/own_signals.rs');
  const blocks = [...read('docs/reference/telemetry.md').matchAll(/```rust\n([\s\S]*?)```/g)].map(([, block]) => block);
  assert.ok(blocks.length >= 4);
  for (const block of blocks) assert.ok(source.includes(block), block);
});

test('each query on a page can be read, and names what exists', () => {
  const wrong = pages.flatMap((path) => [...read(path).matchAll(/```promql\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    block.trim().split(/\n\n/).flatMap((query) => complaints(query.replace(/^#.*$/gm, '')).map((complaint) => `${path}: ${complaint}\n${query}`))));
  assert.deepEqual(wrong, []);
});

test('each panel that a page names exists', () => {
  const titles = panels.map(({ panel }) => panel.title);
  const named = (path, pattern) => [...read(path).replace(/\s+/g, ' ').matchAll(pattern)].map(([, title]) => title);
  const questions = [...named('docs/operate/dashboards.md', /\*([A-Z][^*]+\?)\*/g), ...pages.flatMap((path) => named(path, /panels? \*([^*]+)\*/g))];
  assert.ok(questions.length > 20);
  assert.deepEqual(questions.filter((title) => !titles.includes(title)), []);
});

test('each search in Jaeger on a page asks for spans that exist', () => {
  for (const path of pages) {
    for (const [, address] of read(path).matchAll(/(http:\/\/127\.0\.0\.1:16686\/search\?\S+)/g)) {
      const { searchParams } = new URL(address);
      assert.match(searchParams.get('service'), /^presence-(gateway|state|reaper)$/, address);
      const operation = searchParams.get('operation');
      assert.ok(operation === null || isSpan(operation), `${path}: ${operation}`);
      const tags = JSON.parse(searchParams.get('tags') ?? '{}');
      for (const tag of Object.keys(tags)) assert.ok(tag === 'error' || documented.has(tag), `${path}: ${tag}`);
    }
  }
});

test('each sentence that a page quotes is logged or answered by a service', () => {
  const source = sources().replace(/\\\n\s*/g, '');
  // Sentences with something filled in; two words of their own at least, or everything would be one.
  const texts = [...source.matchAll(/"([^"\n]*\{[^"\n]*)"/g)].map(([, text]) => text.split(/\{[^}]*\}/)).filter((parts) => / \w+ /.test(parts.join('')));
  const templates = texts.map((parts) => new RegExp(`^${parts.map(literal).join('.+')}$`));
  const quoted = ['README.md', ...pages].flatMap((path) => {
    const prose = read(path).replace(/```[\s\S]*?```/g, '').replace(/\s+/g, ' ');
    return [...prose.matchAll(/`([A-Za-z][A-Za-z';,: ]+)`/g)].map(([, text]) => ({ path, text }));
  }).filter(({ text }) => text.split(' ').length >= 4);
  assert.ok(quoted.length >= 8);
  const unknown = quoted.filter(({ text }) => !source.includes(text) && !templates.some((template) => template.test(text)));
  assert.deepEqual(unknown, []);
});

test('each link on a page leads somewhere', () => {
  for (const path of pages) {
    const folder = path.slice(0, path.lastIndexOf('/') + 1);
    for (const [, link] of read(path).replace(/```[\s\S]*?```/g, '').matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const target = new URL(link, `file:///${link.startsWith('#') ? path : folder}`);
      const local = target.pathname.slice(1).replace(/\/$/, '');
      assert.ok(leads(local + target.hash), `${path}: ${link}`);
    }
  }
});
