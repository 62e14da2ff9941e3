// Every block of code on a page can be parsed, and its language is known. Rust, PromQL and LogQL: tests/dashboards.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

import { parse as parseToml } from 'smol-toml';
import { parseAllDocuments } from 'yaml';

import { fenced, indented } from '../harness/markdown.mjs';
import { program } from '../harness/path.mjs';
import { read } from '../harness/repository.mjs';
import { pages } from './project.mjs';

function run(command, args, input) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input, encoding: 'utf8' });
  if (error) throw error;
  return { failed: status !== 0, stdout, stderr };
}

// One process compiles all, and runs none: as modules, or as what stands inside a function, if they are no scripts of a page.
const COMPILER = `
  const { Script, SourceTextModule } = require('node:vm');
  const complaint = (compile) => { try { compile(); return null; } catch (error) { return String(error); } };
  const within = (text) => 'async function block() {\\n' + text + '\\n}';
  const check = ({ text, isScript }) => isScript
    ? complaint(() => new Script(text))
    : complaint(() => new Script(within(text))) && complaint(() => new SourceTextModule(text));
  console.log(JSON.stringify(JSON.parse(require('node:fs').readFileSync(0, 'utf8')).map(check)));`;

// The complaints about programs, in order: null for one that compiles.
function compile(programs) {
  const options = ['--experimental-vm-modules', '--no-warnings', '-e', COMPILER];
  const { failed, stdout, stderr } = run(process.execPath, options, JSON.stringify(programs));
  assert.ok(!failed, stderr);
  return JSON.parse(stdout);
}

const each = (complaint) => (texts) => texts.map(complaint);

// The scripts that are in a page.
function scriptsOf(page) {
  const tags = page.matchAll(/<script(?![^>]*\bsrc=)([^>]*)>([\s\S]*?)<\/script>/g);
  return [...tags].map(([, attributes, text]) => ({ text, isScript: !attributes.includes('module') }));
}

function thrown(parse) {
  try {
    parse();
  } catch (error) {
    return String(error);
  }
  return null;
}

function shell(text) {
  const { failed, stderr } = run('bash', ['-n'], text);
  return failed ? stderr : null;
}

// One process reads all.
const PYTHON = `
import ast, json, sys

def complaint(text):
    try:
        ast.parse(text)
    except SyntaxError as error:
        return str(error)

print(json.dumps([complaint(text) for text in json.load(sys.stdin)]))`;

function python(texts) {
  const { failed, stdout, stderr } = run('python3', ['-c', PYTHON], JSON.stringify(texts));
  assert.ok(!failed, stderr);
  return JSON.parse(stdout);
}

// It also has to be as gofmt would write it.
function go(text) {
  const { failed, stdout, stderr } = run('gofmt', ['-e'], text);
  if (failed) return stderr;
  return stdout === text ? null : 'gofmt writes it another way';
}

// language → the complaints about blocks, in order; null for one without.
const PARSERS = {
  js: (texts) => compile(texts.map((text) => ({ text }))),
  html: (texts) => texts.map((text) => compile(scriptsOf(text)).find(Boolean) ?? null),
  sh: each(shell),
  json: each((text) => thrown(() => JSON.parse(text))),
  toml: each((text) => thrown(() => parseToml(text))),
  python,
  go: each(go),
  yaml: each((text) => parseAllDocuments(text).flatMap(({ errors }) => errors).map(String)[0] ?? null),
};
const ELSEWHERE = ['rust', 'promql', 'logql'];
const READ_ONLY = ['lua', 'text'];

// What a parser needs that not every machine has.
const NEEDS = { python: 'python3', go: 'gofmt' };
const missing = (language) => language in NEEDS && !program([NEEDS[language]]) && `no ${NEEDS[language]} on the PATH`;

const blocks = pages.flatMap((page) => fenced(read(page)).map((block) => ({ page, ...block })));

test('every block names a language that is known here', () => {
  const languages = [...Object.keys(PARSERS), ...ELSEWHERE, ...READ_ONLY];
  const unknown = blocks.filter(({ language }) => !languages.includes(language));
  assert.deepEqual(unknown.map(({ page, line, language }) => `${page}:${line}: ${language}`), []);
});

// A list of sentences: where a block stands and what is wrong with it.
function wrong(found, complaints) {
  return found.flatMap(({ page, line }, n) => (complaints[n] === null ? [] : [`${page}:${line}: ${complaints[n]}`]));
}

for (const [language, parse] of Object.entries(PARSERS)) {
  test(`blocks in ${language} parse`, { skip: missing(language) }, () => {
    const found = blocks.filter((block) => block.language === language);
    assert.ok(found.length > 0, 'there is none');
    assert.deepEqual(wrong(found, parse(found.map(({ text }) => text))), []);
  });
}

test('indented blocks of commands parse', () => {
  const programs = ['\\./dev', 'docker', 'kubectl', 'helm', 'cargo', 'node', 'npm', 'curl', 'redis-cli', 'presence-\\w+', 'deploy/', 'openssl'];
  const command = new RegExp(`^(?:[A-Z_]+=\\S+ )*(?:${programs.join('|')})`);
  const all = pages.flatMap((page) => indented(read(page)).map((block) => ({ page, ...block })));
  const commands = all.filter(({ text }) => command.test(text));
  assert.ok(commands.length >= 10, `only ${commands.length} were found`);
  assert.deepEqual(wrong(commands, commands.map(({ text }) => shell(text))), []);
});

test('a block that does not parse is found', () => {
  const broken = {
    js: 'const = 1', html: '<script>const = 1</script>', sh: 'if true; then',
    json: '{', toml: 'a = ', yaml: 'a: [', python: 'if true:', go: 'func main() {',
  };
  assert.deepEqual(Object.keys(broken).sort(), Object.keys(PARSERS).sort());
  for (const [language, text] of Object.entries(broken)) {
    if (!missing(language)) assert.ok(PARSERS[language]([text])[0], language);
  }
  if (!missing('go')) assert.deepEqual(PARSERS.go(['package a\n', 'package  a\n']).map(Boolean), [false, true]);
  const programs = ['import a from "a";\nawait a();', 'if (!a) return b;\nawait c();', 'return;\nimport a from "a";'];
  assert.deepEqual(PARSERS.js(programs).map(Boolean), [false, false, true]);
});
