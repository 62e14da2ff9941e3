// One hostile client at a time, from the files in attackers/, against a system with docker-compose.yml's limits and fifty honest
// users. ROLLCALL_ATTACKERS names some of them. It ends with one table.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { after, test } from 'node:test';

import { Stage, profiles } from './stage.mjs';
import { limits } from './system.mjs';
import { table } from './table.mjs';
import { trial } from './trial.mjs';

const folder = new URL('./attackers/', import.meta.url);
const wanted = process.env.ROLLCALL_ATTACKERS?.split(' ').filter(Boolean) ?? [];
const names = readdirSync(folder).map((file) => file.replace(/\.mjs$/, '')).sort();
const unknown = wanted.filter((name) => !names.includes(name));
assert.deepEqual(unknown, [], `no such attackers; there are ${names.join(', ')}`);

const noLinux = !existsSync('/proc/self/clear_refs') && 'needs Linux: memory is read from /proc, and attackers have 127.0.0.2';
const load = async (name) => ({ name, ...(await import(new URL(`${name}.mjs`, folder))) });
const attackers = await Promise.all((wanted.length ? wanted : names).map(load));
for (const { name, floor } of attackers) assert.ok(floor?.opened > 0 && floor.requests > 0, `${name} does not say what it does at least`);
// Those of one profile one after the other: they share a system while it stays whole.
attackers.sort((one, other) => (one.profile ?? '').localeCompare(other.profile ?? ''));

function assertHeld({ failures }, what) {
  if (failures.length === 0) return;
  const error = new Error([what, ...failures.map(({ kind, text }) => `${kind}: ${text}`)].join('\n'));
  error.stack = error.message; // where in this file is no news
  throw error;
}

const stage = new Stage();
const rows = [];

after(async () => {
  await stage.clear();
  if (rows.length) console.log(`\nMemory is limited by ${limits.kind}. All sizes in MiB.\n\n${table(rows)}\n`);
});

test('memory is limited as in containers', {
  skip: noLinux || (!limits.kind.startsWith('cgroup') && `no memory cgroup may be made here; the limit is by ${limits.kind}`),
}, () => {});

test('honest users alone', { skip: noLinux }, async () => {
  const row = await trial(await stage.open());
  rows.push(row);
  assertHeld(row, 'without an attacker');
});

for (const attacker of attackers) {
  const skip = noLinux || profiles[attacker.profile ?? 'open'].missing || attacker.missing?.() || false;
  test(attacker.name, { skip, timeout: 120_000 }, async () => {
    const open = await stage.open(attacker.profile);
    const row = await trial(open, attacker);
    rows.push(row);
    if (row.failures.length) await stage.clear(); // what is broken must not be blamed on the next one
    assertHeld(row, `what must end this: ${attacker.bound}`);
  });
}
