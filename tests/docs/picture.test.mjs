// docs/img/join.svg is what scripts/draw-join.mjs draws from docs/img/join.trace.json, and that is the trace of a join.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { draw } from '../../scripts/draw-join.mjs';
import { read } from '../harness/repository.mjs';

const trace = JSON.parse(read('docs/img/join.trace.json'));

test('the picture is drawn from the trace next to it', () => {
  assert.equal(read('docs/img/join.svg'), draw(trace));
});

test('the trace is a join: from a gateway over presence-state and its script to both gateways', () => {
  const above = (span) => (span.parent === null ? [] : [trace[span.parent], ...above(trace[span.parent])]);
  const [root] = trace;
  assert.deepEqual([root.name, root.service, root.parent], ['socket presence:join', 'gateway 1', null]);
  const script = trace.find(({ name }) => name === 'EVALSHA presence_join');
  assert.deepEqual(above(script).map(({ service }) => service).filter((name) => name === 'presence-state'), ['presence-state']);
  const delivered = trace.filter(({ name }) => name === 'deliver presence.events');
  assert.deepEqual(delivered.map(({ service }) => service).sort(), ['gateway 1', 'gateway 2']);
  for (const span of trace) assert.ok(span === root || above(span).includes(root), span.name);
});
