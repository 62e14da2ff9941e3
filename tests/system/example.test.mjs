// The test that tests/README.md shows.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { quotes } from '../harness/examples.mjs';
import { read } from '../harness/repository.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds } from '../harness/until.mjs';

scenario('a killed presence-state costs no member and no patch', { gateways: 2, states: 2 }, async ({ system, room }) => {
  const ann = await system.connect(0);
  const ben = await system.connect(1);
  await ann.join(room, 'ann');
  await ben.join(room, 'ben');

  await system.states[0].kill();
  assert.equal((await ben.patch({ mood: 'calm' })).changed, true);
  await ann.receives({ type: 'update', connId: ben.connId });
  await holds('no one leaves', () => ann.count({ type: 'leave' }) === 0, { ms: 2000 });
});

test('tests/README.md shows this file', () => {
  const [, code] = read('tests/README.md').match(/^```js\n(.*?)^```$/ms);
  assert.ok(quotes(readFileSync(new URL(import.meta.url), 'utf8'), code));
});
