// Programs and tests run with the oldest Node that package.json names, which is the one of Debian 12. CI on GitHub uses it; on a
// newer one, this test finds what it lacks.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { ROOT, read } from './repository.mjs';

const OLDEST = '18.19';
const LATER = [
  /\.(toSorted|toReversed|toSpliced|isWellFormed|toWellFormed|isSubsetOf|isSupersetOf|isDisjointFrom|symmetricDifference)\(/,
  /\b(Object|Map)\.groupBy\(|\bArray\.fromAsync\(|\bPromise\.(withResolvers|try)\(|\bIterator\.from\(|\bRegExp\.escape\(|\bAbortSignal\.any\(/,
  /\bimport\.meta\.(dirname|filename)\b|\b(keys|values|entries)\(\)\.(map|filter|some|every|find|take|drop|reduce|toArray)\(/,
];

test(`no program and no test needs more than Node ${OLDEST}`, () => {
  assert.equal(JSON.parse(read('tests/package.json')).engines.node, `>=${OLDEST}`);
  assert.ok(read('.github/workflows/ci.yml').includes(`node-version: "${OLDEST}"`));
  const files = execFileSync('git', ['ls-files', 'scripts', 'tests', 'examples/node'], { cwd: ROOT, encoding: 'utf8' }).split('\n')
    .filter((path) => /\.m?js$/.test(path));
  assert.ok(files.length > 100);
  const later = files.flatMap((path) => LATER.map((pattern) => read(path).match(pattern)).filter(Boolean).map(([found]) => `${path}: ${found}`));
  assert.deepEqual(later, []);
});
