// What ./dev says about itself: to a newcomer who asks, and to one who mistypes. Nothing may be needed for it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';

import { DEV } from '../harness/dev-up.mjs';
import { ownPath } from '../harness/path.mjs';
import { pathOf, read } from '../harness/repository.mjs';

const COMMANDS = [...read('dev').matchAll(/^ {2}([a-z]+)\) /gm)].map(([, command]) => command);
// Neither Rust nor Node.js, neither Redis nor Docker.
const { path: PATH } = ownPath({ only: ['bash', 'cat', 'dirname', 'env'] });

function dev(...args) {
  const { status, stdout, stderr } = spawnSync(DEV, args, { env: { PATH, HOME: process.env.HOME }, encoding: 'utf8' });
  return { status, stdout, stderr };
}

const HELP = Object.fromEntries(COMMANDS.map((command) => [command, dev('help', command).stdout]));

test('without a command, and with help, it lists all of them', () => {
  const { status, stdout, stderr } = dev();
  assert.deepEqual([status, stderr], [0, '']);
  assert.ok(COMMANDS.length >= 5, COMMANDS.join());
  for (const command of COMMANDS) assert.match(stdout, new RegExp(`^ {2}${command} {2,}\\S`, 'm'));
  for (const words of [['help'], ['-h'], ['--help'], ['help', '--help']]) assert.deepEqual(dev(...words), { status, stdout, stderr }, words.join(' '));
});

test('each command has help, however it is asked for', () => {
  for (const command of COMMANDS) {
    assert.match(HELP[command], new RegExp(`^Usage: \\./dev ${command}\\b`));
    for (const words of [[command, '--help'], [command, '-h'], [command, '--nonsense', '-h']]) {
      assert.deepEqual(dev(...words), { status: 0, stdout: HELP[command], stderr: '' }, words.join(' '));
    }
  }
  for (const words of [['test', 'stack'], ['test', 'unit'], ['token', 'revoke'], ['up', '--crowd', '5']]) {
    assert.deepEqual(dev(...words, '--help'), { status: 0, stdout: HELP[words[0]], stderr: '' }, words.join(' '));
  }
});

test('the help has every option, part and scenario that there is', () => {
  const options = (text) => [...new Set(text.match(/--[a-z]+(=build)?\b/g))].sort();
  const [accepted] = read('scripts/up.sh').match(/up_options\(\) \{[^]*?\n\}/);
  assert.deepEqual(options(HELP.up), options(accepted));
  const parts = readdirSync(pathOf('tests'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name);
  for (const part of ['unit', ...parts.filter((name) => read('scripts/test.sh').includes(`| ${name}`))]) assert.match(HELP.test, new RegExp(`^ {2}${part} `, 'm'));
  const scenarios = [...read('bench/src/scenario.rs').matchAll(/^ {4}\("([a-z-]+)", "/gm)].map(([, name]) => name);
  assert.ok(HELP.bench.includes(`Scenarios: ${scenarios.join(' ')}\n`), scenarios.join(' '));
  for (const line of Object.values(HELP).join('').split('\n')) assert.ok(line.length <= 140, line);
});

for (const [words, sentence] of [
  [['nonsense'], /there is no command 'nonsense'/],
  [['help', 'nonsense'], /there is no command 'nonsense'/],
  [['help', 'all'], /there is no command 'all'/],
  [['up', '--observ'], /does not take '--observ'/],
  [['up', '--observe=all'], /does not take '--observe=all'/],
  [['up', '--gateways', '0'], /--gateways takes a number from 1 to 99, not '0'/],
  [['up', '--gateways=100'], /--gateways takes a number from 1 to 99, not '100'/],
  [['up', '--crowd'], /--crowd takes a number from 1 to 2000, not ''/],
  [['up', '--crowd', '2001'], /--crowd takes a number from 1 to 2000, not '2001'/],
  [['up', '--crowd', '9', '--auth'], /--crowd .* without --auth/],
  [['token', '--user', 'ann'], /does not take '--user'/],
  [['token', '--sub'], /--sub takes a value/],
  [['token', '--sub', 'ann', '--sub', 'bob'], /--sub is given twice/],
  [['token'], /needs --sub, the user/],
  [['token', '--room', 'a=join'], /needs --sub, the user/],
  [['token', '--sub', 'ann'], /needs --room, without which a token allows nothing/],
  [['token', 'revoke'], /revoke needs --sub or --jti/],
  [['token', 'revoke', '--room', 'a=join'], /revoke does not take '--room'/],
  [['test', 'all-of-it'], /has no part 'all-of-it'/],
  [['test', 'unit', 'one'], /takes no names, not 'one'/],
  [['test', 'system', 'nothing'], /there is no tests\/system\/nothing\.test\.mjs/],
  [['test', 'abuse', 'no-one'], /there is no tests\/abuse\/attackers\/no-one\.mjs/],
  [['lint', 'fast'], /takes nothing, not 'fast'/],
  [['docs', '--serve'], /takes --build, not '--serve'/],
  [['release'], /takes a version/],
]) {
  test(`mistyped: ./dev ${words.join(' ')}`, () => {
    const { status, stdout, stderr } = dev(...words);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^dev: [^\n]+\n$/, 'one sentence');
    assert.match(stderr, sentence);
  });
}
