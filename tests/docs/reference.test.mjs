// The reference says what the sources say: variables and their defaults, codes, events, reasons, pages.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parse } from 'smol-toml';

import { code, rows } from '../harness/markdown.mjs';
import { read } from '../harness/repository.mjs';
import { rust } from './project.mjs';

const page = (name) => read(`docs/reference/${name}.md`);

// Variables that have no key in any default.toml.
const ENVIRONMENT_ONLY = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'ROLLCALL_CONFIG'];
const SERVICES = ['gateway', 'presence-state', 'reaper'];
const isService = (name) => SERVICES.includes(name);

// "VARIABLE of SERVICE = default", as the services have it.
function builtIn() {
  return SERVICES.flatMap((service) => Object.entries(parse(read(`services/${service}/default.toml`)))
    .map(([key, value]) => `${key.toUpperCase()} of ${service} = ${value}`)).sort();
}

// The same, as the page has it. A cell "`3101` / `3102`" has one default for each service of the next cell, in order.
function documented() {
  return rows(page('configuration')).flatMap(([variables, defaults, owners]) => {
    const services = owners.startsWith('all') ? SERVICES : owners.split(/[,/] */).map((name) => name.trim()).filter(isService);
    const values = /^(empty|unset)/.test(defaults) ? [''] : code(defaults);
    return code(variables).filter((variable) => !ENVIRONMENT_ONLY.includes(variable))
      .flatMap((variable) => services.map((service, n) => `${variable} of ${service} = ${values[n] ?? values[0]}`));
  }).sort();
}

test('configuration.md has every variable of every default.toml, with its default and its services, and no others', () => {
  const [onPage, inServices] = [documented(), builtIn()];
  assert.deepEqual(inServices.filter((line) => !onPage.includes(line)), [], 'not on the page');
  assert.deepEqual(onPage.filter((line) => !inServices.includes(line)), [], 'on the page, and in no default.toml');
  const named = rows(page('configuration')).flatMap(([cell]) => code(cell));
  for (const variable of ENVIRONMENT_ONLY) assert.ok(named.includes(variable), `${variable} is not on the page`);
});

test('configuration.md has the range of every number', () => {
  const ranges = rust('services', 'shared').flatMap(({ text }) => [...text.matchAll(/\bwithin\("(\w+)", ([\d_]+)\.\.=([\d_]+)\)/g)]);
  assert.ok(ranges.length >= 8);
  const texts = new Map(rows(page('configuration')).flatMap((cells) => code(cells[0]).map((variable) => [variable, cells.at(-1)])));
  const number = (text) => Number(text.replaceAll('_', '')).toLocaleString('en-US');
  const missing = ranges.filter(([, key]) => !/^(admin_)?port$/.test(key)).map(([, key, least, most]) => {
    const range = Number(least) === 0 ? `up to ${number(most)}` : `${number(least)} to ${number(most)}`;
    return [key.toUpperCase(), range];
  }).filter(([variable, range]) => !texts.get(variable)?.includes(range));
  assert.deepEqual(missing, []);
});

test('errors.md has every code of the protocol, and no others', () => {
  const codes = [...read('shared/protocol/src/fault.rs').matchAll(/Code::\w+ => "([A-Z_]+)"/g)].map(([, name]) => name);
  assert.ok(codes.length >= 16);
  assert.deepEqual(rows(page('errors')).map(([cell]) => code(cell)[0]).sort(), codes.sort());
});

test('every code that a page names is one of the protocol', () => {
  const codes = new Set(rows(page('errors')).map(([cell]) => code(cell)[0]));
  const metadataOrLock = /^(?:METADATA|LOCK)_(?:CONFLICT|INVALID|LOCK|HELD|LOST)$|^(?:[A-Z]+_)?(?:PAYLOAD|JOINED|CONFLICT|LARGE|LIMITED)$/;
  for (const name of ['presence', 'metadata', 'locks', 'limits', 'auth', 'http', 'compatibility']) {
    const unknown = code(page(name).replace(/```[\s\S]*?```/g, '')).filter((text) => metadataOrLock.test(text) && !codes.has(text));
    assert.deepEqual(unknown, [], name);
  }
});

const EVENT = /(?:presence|metadata|lock|auth):[a-z][A-Za-z]*/;
// What a token may allow looks the same.
const RIGHTS = ['metadata:read', 'metadata:write'];

test('every event of the protocol has a row in the reference, and every row is an event', () => {
  const sources = rust('shared/protocol/src', 'services/gateway/src').map(({ text }) => text).join('\n');
  const quoted = [...sources.matchAll(new RegExp(`"(${EVENT.source})"`, 'g'))].map(([, name]) => name);
  const events = new Set(quoted.filter((name) => !RIGHTS.includes(name)));
  const described = ['presence', 'metadata', 'locks'].flatMap((name) => rows(page(name)))
    .map(([cell]) => code(cell)[0]).filter((name) => new RegExp(`^${EVENT.source}$`).test(name));
  assert.ok(events.size >= 17);
  assert.deepEqual(described.sort(), [...events].sort());
});

test('presence.md has every reason of a leave', () => {
  const [, variants] = read('shared/protocol/src/client/message.rs').match(/pub enum LeaveReason \{([\s\S]*?)\n\}/);
  const snakeCase = (name) => name.replace(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
  const reasons = [...variants.matchAll(/^ {4}([A-Z]\w+),$/gm)].map(([, name]) => snakeCase(name));
  const table = page('presence').split('A `leave` has a `reason`:')[1].split('\n## ')[0];
  assert.deepEqual(rows(table).map(([cell]) => code(cell)[0]).sort(), reasons.sort());
});

test('http.md has every page that a service serves, and every check of /readyz', () => {
  const sources = rust('services', 'shared').map(({ text }) => text).join('\n');
  const listed = new Set(rows(page('http')).map(([cell]) => code(cell)[0]));
  const served = [...sources.matchAll(/\.route\("(\/[^"]*)"/g)].map(([, path]) => path);
  const checks = [...sources.matchAll(/\.part\("([^"]+)"/g)].map(([, name]) => name);
  assert.ok(served.length >= 3 && checks.length >= 5);
  assert.deepEqual([...served, ...checks].filter((name) => !listed.has(name)), []);
});

test('auth.md has every sentence with which a token is refused', () => {
  const rejections = read('services/gateway/src/auth/rejection.rs').match(/fn sentence[\s\S]*?\n {4}\}/)[0];
  const written = rust('services/gateway/src/auth/').map(({ text }) => text).join('\n');
  const sentences = [rejections.split('NoKeys')[0].matchAll(/"([^"]+)"/g), written.matchAll(/unauthenticated\("([^"]+)"\)/g)]
    .flatMap((found) => [...found].map(([, text]) => text.replace(/\{\w+\}/g, '0')));
  assert.ok(sentences.length >= 16);
  const table = page('auth').split('\n## Errors\n')[1].split('\n## ')[0];
  const cells = [...table.matchAll(/^\| (.+?) \|/gm)].flatMap(([, cell]) => cell.split(/[;,] (?=the token)/));
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const known = cells.map((cell) => new RegExp(`^${cell.split(/…|\b\d+\b/).map(literal).join('.+')}$`));
  assert.deepEqual(sentences.filter((sentence) => !known.some((pattern) => pattern.test(sentence))), []);
});
