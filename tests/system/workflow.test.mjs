// GitHub's workflow runs what .ci/run does.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const read = (file) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');

test('the parts of the workflow are those of .ci/run', () => {
  const local = read('.ci/run').match(/^for part in (.*); do$/m)[1].split(' ').map((part) => part.replaceAll("'", ''));
  const jobs = read('.github/workflows/ci.yml').match(/^ +part: \[(.*)\]$/m)[1].split(', ').map((part) => part.replaceAll('"', ''));
  assert.deepEqual(jobs, local);
});
