// README.md is short, and its numbers are measured ones.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { read } from '../harness/repository.mjs';

const text = read('README.md');

test('README.md has at most 150 lines', () => {
  const lines = text.trimEnd().split('\n').length;
  assert.ok(lines <= 150, `it has ${lines}`);
});

// What README.md says → the row of the table in docs/benchmarks.md, and the column that has the number.
const NUMBERS = [
  [/([\d,]+) handovers a second/, 'one lock that 20 want: handovers', 1],
  [/A heartbeat takes ([\d.]+) times the CPU/, 'plain heartbeat, closed loop of 200: CPU', 3],
  [/an idle connection ([\d.]+) KiB/, 'an idle joined connection, of 8,000', 1],
  [/1,000 people join one room in ([\d.]+) s/, '1,000 joins to one room: all answered', 1],
];

for (const [sentence, row, column] of NUMBERS) {
  test(`README.md has the measured number of "${row}"`, () => {
    const cells = read('docs/benchmarks.md').split('\n').find((line) => line.startsWith(`| ${row} `))?.split('|').slice(1);
    assert.ok(cells, 'the table has no such row');
    const [, said] = text.replace(/\s+/g, ' ').match(sentence) ?? [];
    assert.equal(said, cells[column].trim().match(/^[\d.,]+/)?.[0]);
  });
}
