// GitHub's workflow runs what .ci/run does.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { read } from '../harness/repository.mjs';

test('the parts of the workflow are those of .ci/run', () => {
  const local = read('.ci/run').match(/^for part in (.*); do$/m)[1].split(' ').map((part) => part.replaceAll("'", ''));
  const jobs = read('.github/workflows/ci.yml').match(/^ +part: \[(.*)\]$/m)[1].split(', ').map((part) => part.replaceAll('"', ''));
  assert.deepEqual(jobs, local);
});
