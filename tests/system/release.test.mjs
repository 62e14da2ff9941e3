// `./dev release`: every place that names the version has the new one, and a tree that is not ready is refused.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { temporaryFolder } from '../harness/child.mjs';
import { ROOT, pathOf, read as current } from '../harness/repository.mjs';

const OURS = /^\nname = "rollcall-/; // of the entries of a Cargo.lock
// They name versions of other packages, versions as history, or as examples.
const OTHERS = /Cargo\.(lock|toml)|package(-lock)?\.json|go\.(sum|mod)|CHANGELOG\.md|^docs\/internals\/|^scripts\/help|\/release\./;
const LARGE = /^(target|\.dev)\//;

const git = (folder, ...args) => execFileSync('git', args, { cwd: folder, encoding: 'utf8' });

function isRepository() {
  return spawnSync('git', ['rev-parse', '--git-dir'], { cwd: ROOT }).status === 0;
}

// The files of the repository as they are now, in a repository of their own.
function copy() {
  const folder = temporaryFolder('release');
  const files = git(ROOT, 'ls-files', '--cached', '--others', '--exclude-standard').trim().split('\n').filter((file) => !LARGE.test(file));
  for (const file of files) cpSync(pathOf(file), join(folder, file), { force: true });
  // Right after a release it has none.
  addChange(folder, '- Something.');
  git(folder, 'init', '-q');
  commit(folder);
  return folder;
}

function addChange(folder, lines) {
  const path = join(folder, 'CHANGELOG.md');
  writeFileSync(path, readFileSync(path, 'utf8').replace('## [Unreleased]\n', `## [Unreleased]\n\n${lines}\n`));
}

function commit(folder) {
  git(folder, 'add', '-A');
  git(folder, '-c', 'user.name=test', '-c', 'user.email=test@example.com', 'commit', '-qm', 'all');
}

function release(folder, ...args) {
  const { status, stdout, stderr } = spawnSync('./dev', ['release', ...args], { cwd: folder, encoding: 'utf8' });
  return { status, stdout, stderr };
}

const skip = !isRepository() && 'no git repository';
const read = (folder, file) => readFileSync(join(folder, file), 'utf8');

test('no place is left with the old version, and the changelog has a section for the new one', { skip }, () => {
  const folder = copy();
  const old = read(folder, 'Cargo.toml').match(/^version = "(.*)"$/m)[1];
  const before = read(folder, 'CHANGELOG.md');
  const { status, stdout, stderr } = release(folder, '9.8.7');
  assert.equal(status, 0, stderr);
  assert.equal(stdout, "git commit -am 'Release 9.8.7'\ngit tag -a v9.8.7 -m 'Rollcall 9.8.7'\n");

  const crates = (file, version) => read(folder, file).split('[[package]]')
    .filter((entry) => OURS.test(entry) && entry.includes(`version = "${version}"\n`)).length;
  for (const file of ['Cargo.lock', 'fuzz/Cargo.lock']) {
    assert.ok(crates(file, '9.8.7') > 3, file);
    assert.equal(crates(file, old), 0, file);
  }
  assert.match(read(folder, 'fuzz/Cargo.lock'), /name = "rollcall-fuzz"\nversion = "0\.0\.0"/, 'it has no version of its own');
  for (const [file, line] of [
    ['Cargo.toml', 'version = "9.8.7"'],
    ['deploy/helm/rollcall/Chart.yaml', 'version: 9.8.7'],
    ['deploy/helm/rollcall/Chart.yaml', 'appVersion: "9.8.7"'],
    ['deploy/Dockerfile', 'ROLLCALL_VERSION=9.8.7'],
    ['docker-compose.yml', 'ROLLCALL_VERSION:-9.8.7'],
    ['.env.example', 'ROLLCALL_VERSION=9.8.7'],
  ]) assert.ok(read(folder, file).includes(line), `${file}: ${line}`);

  // Versions of others are as before: those of other packages, and those that end or begin like ours.
  const others = (text) => text.split('[[package]]').filter((entry) => !OURS.test(entry));
  assert.deepEqual(others(read(folder, 'Cargo.lock')), others(current('Cargo.lock')));
  const alone = new RegExp(`(?<![\\d.])${old.replaceAll('.', '\\.')}(?![\\d.])`);
  const left = git(folder, 'ls-files').trim().split('\n').filter((file) => !OTHERS.test(file) && alone.test(read(folder, file)));
  assert.deepEqual(left, []);

  const after = read(folder, 'CHANGELOG.md');
  assert.match(after, /^## \[9\.8\.7\] - \d{4}-\d\d-\d\d$/m);
  assert.equal(after.replace(/\n## \[9\.8\.7\] - .*\n/, ''), before, 'nothing else has changed');
  assert.equal(git(folder, 'tag'), '', 'no tag is made');
  assert.equal(git(folder, 'log', '--oneline').trim().split('\n').length, 1, 'nothing is committed');
});

test('one release after the other, with many changes, and with a version that an example and a dependency have too', { skip }, () => {
  const folder = copy();
  writeFileSync(join(folder, 'scripts/help.sh'), read(folder, 'scripts/help.sh').replace('./dev release 1.2.3', './dev release 9.8.7'));
  writeFileSync(join(folder, 'tests/package.json'), '{ "devDependencies": { "other": "9.8.7" } }\n');
  for (const version of ['9.8.7', '9.8.8']) {
    addChange(folder, '- A change.\n'.repeat(20_000)); // more than a pipe holds
    commit(folder);
    const { status, stderr } = release(folder, version);
    assert.equal(status, 0, stderr);
    commit(folder);
  }
});

test('a release is refused: no version, an older one, changes in the tree, nothing to tell, a tag that exists', { skip }, () => {
  const folder = copy();
  const refused = (expected, args, code = 1) => {
    const { status, stderr } = release(folder, ...args);
    assert.equal(status, code, stderr);
    assert.match(stderr, expected);
  };
  refused(/takes a version/, [], 2);
  refused(/'next' is not a version/, ['next'], 2);
  refused(/0\.0\.9 is not later than/, ['0.0.9']);
  git(folder, 'tag', 'v9.0.0');
  refused(/the tag v9\.0\.0 exists already/, ['9.0.0']);
  writeFileSync(join(folder, 'new-file'), '');
  refused(/changes that are not committed/, ['9.8.7']);
  writeFileSync(join(folder, 'CHANGELOG.md'), '# Changelog\n\n## [Unreleased]\n\n## [0.1.0]\n\n- The first one.\n');
  commit(folder);
  refused(/CHANGELOG\.md has nothing under \[Unreleased\]/, ['9.8.7']);
  assert.equal(git(folder, 'status', '--porcelain'), '', 'nothing was changed');
});

test('a version that is written in a new place is found', { skip }, () => {
  const folder = copy();
  const old = read(folder, 'Cargo.toml').match(/^version = "(.*)"$/m)[1];
  writeFileSync(join(folder, 'scripts/new.sh'), `image=rollcall/gateway:${old}\n`);
  commit(folder);
  const { status, stderr } = release(folder, '9.8.7');
  assert.equal(status, 1);
  assert.match(stderr, /scripts\/new\.sh:1:image=/);
});
