// Every block of code on a page can be parsed, and its language is known. Rust, PromQL and LogQL: tests/dashboards.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { parse as parseToml } from 'smol-toml';
import { parseAllDocuments } from 'yaml';

import { fenced, indented, pages, read } from './project.mjs';

const scratch = mkdtempSync(join(tmpdir(), 'rollcall-docs-'));
after(() => rmSync(scratch, { recursive: true }));

function run(command, args, input) {
  const { status, stderr, error } = spawnSync(command, args, { input, encoding: 'utf8' });
  if (error) throw error;
  return status === 0 ? undefined : stderr;
}

function javascript(text, ending = 'mjs') {
  const file = join(scratch, `block.${ending}`);
  writeFileSync(file, text);
  return run(process.execPath, ['--check', file]);
}

// The scripts of a page that are in it, and are no modules.
function html(text) {
  const scripts = [...text.matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g)];
  return scripts.map(([tag, script]) => javascript(script, /^<script[^>]*type="module"/.test(tag) ? 'mjs' : 'cjs')).find(Boolean);
}

function thrown(parse) {
  try {
    parse();
  } catch (error) {
    return String(error);
  }
  return undefined;
}

const shell = (text) => run('bash', ['-n'], text);
const json = (text) => thrown(() => JSON.parse(text));

const PARSERS = {
  js: javascript, html, sh: shell, json,
  console: (text) => shell(text.split('\n').filter((line) => line.startsWith('$ ')).map((line) => line.slice(2)).join('\n')),
  toml: (text) => thrown(() => parseToml(text)),
  yaml: (text) => parseAllDocuments(text).flatMap(({ errors }) => errors).map(String)[0],
};
const ELSEWHERE = ['rust', 'promql', 'logql'];
const READ_ONLY = ['go', 'python', 'lua', 'text'];

const blocks = pages.flatMap((page) => fenced(read(page)).map((block) => ({ page, ...block })));

test('every block names a language that is known here', () => {
  const languages = [...Object.keys(PARSERS), ...ELSEWHERE, ...READ_ONLY];
  assert.deepEqual(blocks.filter(({ language }) => !languages.includes(language)).map(({ page, line, language }) => `${page}:${line}: ${language}`), []);
});

for (const [language, complaint] of Object.entries(PARSERS)) {
  test(`blocks in ${language} parse`, () => {
    const wrong = blocks.filter((block) => block.language === language)
      .map(({ page, line, text }) => [complaint(text), `${page}:${line}`]).filter(([why]) => why).map(([why, where]) => `${where}: ${why}`);
    assert.deepEqual(wrong, []);
  });
}

test('indented blocks of commands parse', () => {
  const command = /^(?:[A-Z_]+=\S+ )*(?:\.\/dev|docker|docker-compose|kubectl|helm|cargo|node|npm|curl|redis-cli|presence-\w+|deploy\/\S+|openssl)\b/;
  const commands = pages.flatMap((page) => indented(read(page)).map((block) => ({ page, ...block }))).filter(({ text }) => command.test(text));
  assert.ok(commands.length >= 10, `only ${commands.length} were found`);
  const wrong = commands.map(({ page, line, text }) => [shell(text), `${page}:${line}`]).filter(([why]) => why);
  assert.deepEqual(wrong, []);
});

test('a block that does not parse is found', () => {
  const broken = { js: 'const = 1', html: '<script>const = 1</script>', sh: 'if true; then', json: '{', console: '$ if true; then', toml: 'a = ', yaml: 'a: [' };
  for (const [language, text] of Object.entries(broken)) assert.ok(PARSERS[language](text), language);
});
