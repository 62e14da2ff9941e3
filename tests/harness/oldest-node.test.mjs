// Programs and tests run with the oldest Node that package.json names, which is the one of Debian 12. CI on GitHub uses it; on a
// newer one, this test finds most of what it lacks.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { ROOT, read } from './repository.mjs';

const OLDEST = '18.19';
const LATER = [
  /\.(toSorted|toReversed|toSpliced|isWellFormed|toWellFormed|isSubsetOf|isSupersetOf|isDisjointFrom|symmetricDifference|union|intersection|difference)\(/,
  /\b(Object|Map)\.groupBy\(|\bArray\.fromAsync\(|\bPromise\.(withResolvers|try)\(|\bIterator\.from\(|\bRegExp\.escape\(|\bURL\.parse\(/,
  /\b(globSync|styleText|loadEnvFile|getBuiltinModule)\b|\bnode:(sqlite|sea)\b/,
  /\bimport\.meta\.(dirname|filename)\b|(\.(keys|values|entries)\(\)|\bmatchAll\([^()]*\))\.(map|flatMap|forEach|filter|some|every|find|take|drop|reduce|toArray)\(/,
];

test(`no program and no test needs more than Node ${OLDEST}`, () => {
  const packages = ['tests', 'tests/docs', 'tests/dashboards', 'examples/node'];
  for (const folder of packages) assert.equal(JSON.parse(read(`${folder}/package.json`)).engines.node, `>=${OLDEST}`, folder);
  for (const path of ['.github/workflows/ci.yml', 'scripts/need.sh', 'CONTRIBUTING.md']) assert.ok(read(path).includes(OLDEST), path);
  const files = execFileSync('git', ['ls-files', 'scripts', 'tests', 'examples/node'], { cwd: ROOT, encoding: 'utf8' }).split('\n')
    .filter((path) => /\.m?js$/.test(path) && !path.endsWith('/oldest-node.test.mjs'));
  assert.ok(files.length > 100);
  const later = files.flatMap((path) => LATER.map((pattern) => read(path).match(pattern)).filter(Boolean).map(([found]) => `${path}: ${found}`));
  assert.deepEqual(later, []);
});
