// ./dev lint: checks whose program may be missing on a machine.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { temporaryFolder } from '../harness/child.mjs';
import { ROOT } from '../harness/repository.mjs';

const CHECK = 'say() { printf "dev: %s\\n" "$*" >&2; }; . scripts/need.sh; . scripts/lint.sh; "$1"';
const BASH = execFileSync('sh', ['-c', 'command -v bash'], { encoding: 'utf8' }).trim();

function check(name, path) {
  const options = { cwd: ROOT, env: { PATH: path }, encoding: 'utf8' };
  const { status, stdout, stderr } = spawnSync(BASH, ['--norc', '-c', CHECK, 'check', name], options);
  return { status, stdout, stderr };
}

for (const [name, program] of [['check_shell', 'shellcheck'], ['check_spelling', 'typos']]) {
  test(`without ${program}, ${name} is one line and counted as skipped`, () => {
    const { status, stdout, stderr } = check(name, temporaryFolder('nothing'));
    assert.deepEqual([status, stdout], [0, `${program}: skipped 1\n`]);
    assert.match(stderr, /^dev: .* not checked: .*install.*\n$/);
  });

  test(`${name} fails if ${program} finds something`, () => {
    const path = temporaryFolder('programs');
    symlinkSync(execFileSync('sh', ['-c', 'command -v find'], { encoding: 'utf8' }).trim(), join(path, 'find'));
    writeFileSync(join(path, program), `#!${BASH}\necho "$*"\nexit 1\n`, { mode: 0o755 });
    const { status, stdout } = check(name, path);
    assert.notEqual(status, 0);
    if (name !== 'check_shell') return;
    const read = stdout.trim().split(' ');
    for (const script of ['dev', '.ci/run', 'deploy/upgrade.sh', 'deploy/redis/setup.sh']) assert.ok(read.includes(script), stdout);
  });
}

test('a pipe into a grep that stops reading is found', () => {
  const folder = temporaryFolder('script');
  writeFileSync(join(folder, 'a.sh'), '# not in comments: a | grep -q b\nif a | grep -iq b; then c; fi\na "${b#c}" | grep -E --quiet d\na || grep -q b c\n');
  const script = `${CHECK} "$2"`;
  const run = (...args) => spawnSync(BASH, ['--norc', '-c', script, 'check', 'check_pipes', ...args], { cwd: ROOT, encoding: 'utf8' });
  const { status, stdout } = run(join(folder, 'a.sh'));
  assert.equal(status, 1);
  assert.match(stdout, /^\S+a\.sh:2:if a [^\n]*\n\S+a\.sh:3:a [^\n]*\n$/);
  assert.equal(run('/dev/null').status, 0);
});

test('./dev sources every file of scripts/, so that it is checked with it', () => {
  const sourced = spawnSync('sed', ['-n', 's/^\\. //p', 'dev'], { cwd: ROOT, encoding: 'utf8' }).stdout.trim().split('\n').sort();
  const there = spawnSync('sh', ['-c', 'ls scripts/*.sh'], { cwd: ROOT, encoding: 'utf8' }).stdout.trim().split('\n').sort();
  assert.deepEqual(sourced, there);
});
