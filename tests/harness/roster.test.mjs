// The follower judges most system tests: here it must detect violations.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Roster } from './roster.mjs';

const GEN = 1000;
const member = (connId, userId = connId, epoch = 1) => ({ connId, userId, state: {}, lastSeenMs: 1, epoch });

function rosterOf(...members) {
  return new Roster('room', 'me', { snapshot: [member('me'), ...members], seq: 5, gen: GEN });
}

function event(type, connId, seq, more = {}) {
  const flags = { join: { userJoined: true }, leave: { userLeft: true, reason: 'left' }, update: {} }[type];
  return { type, roomId: 'room', userId: connId, connId, state: {}, ts: 1, epoch: 1, seq, gen: GEN, ...flags, ...more };
}

function assertViolation(roster, pattern) {
  assert.equal(roster.violations.length, 1, roster.violations.join('\n'));
  assert.match(roster.violations[0], pattern);
}

test('a proper sequence is no violation', () => {
  const roster = rosterOf(member('ann'));
  roster.apply(event('join', 'bob', 6));
  roster.apply(event('update', 'bob', 7, { state: { x: 1 } }));
  roster.apply(event('leave', 'ann', 8));
  assert.deepEqual(roster.violations, []);
  assert.deepEqual(roster.users(), ['bob', 'me']);
});

test('what the strict follower reports', async (t) => {
  const cases = {
    'a gap': [[event('join', 'bob', 7)], /expected seq 6/],
    'a duplicate': [[event('update', 'ann', 5)], /expected seq 6/],
    'a second join': [[event('join', 'ann', 6)], /joined twice/],
    'a second leave': [[event('leave', 'ann', 6), event('leave', 'ann', 7)], /not here/],
    'an update of no one': [[event('update', 'zoe', 6)], /not here/],
    'a leave without reason': [[event('leave', 'ann', 6, { reason: undefined })], /without reason/],
    'a wrong userJoined': [[event('join', 'tab2', 6, { userId: 'ann' })], /wrong userJoined/],
    'a wrong userLeft': [[event('leave', 'ann', 6, { userLeft: false })], /wrong userLeft/],
    'an epoch that goes back': [[event('update', 'ann', 6, { epoch: 0 })], /epoch .* went back/],
    'another room': [[event('update', 'ann', 6, { roomId: 'other' })], /another room/],
    'an older gen': [[event('update', 'ann', 6, { gen: GEN - 1 })], /older gen/],
    'a missing field': [[event('update', 'ann', 6, { ts: undefined })], /without ts/],
  };
  for (const [name, [events, pattern]] of Object.entries(cases)) {
    await t.test(name, () => {
      const roster = rosterOf(member('ann'));
      events.forEach((one) => roster.apply(one));
      assertViolation(roster, pattern);
    });
  }
});

test('a repaired gap ends with a sync that agrees with the events', () => {
  const roster = rosterOf(member('ann'));
  roster.apply(event('leave', 'ann', 9, { resync: true }));
  assert.equal(roster.unsettled, true);
  roster.sync({ roomId: 'room', snapshot: [member('me')], seq: 9, gen: GEN });
  roster.apply(event('join', 'bob', 10));
  assert.equal(roster.unsettled, false);
  assert.deepEqual(roster.violations, []);
});

test('a sync with changes that no event announced is reported', () => {
  const ghost = rosterOf(member('ann'));
  ghost.sync({ roomId: 'room', snapshot: [member('me')], seq: 9, gen: GEN });
  assertViolation(ghost, /lacks ann/);
  const surprise = rosterOf();
  surprise.sync({ roomId: 'room', snapshot: [member('me'), member('bob')], seq: 9, gen: GEN });
  assertViolation(surprise, /shows bob/);
  const renamed = rosterOf({ ...member('ann'), info: { name: 'Ann' } });
  renamed.sync({ roomId: 'room', snapshot: [member('me'), { ...member('ann'), info: { name: 'Ann B.' } }], seq: 9, gen: GEN });
  assertViolation(renamed, /another info of ann/);
});

test('a new gen settles with a sync', () => {
  const roster = rosterOf(member('ann'));
  roster.apply(event('join', 'ann', 1, { gen: GEN + 1, epoch: 2 }));
  roster.apply(event('join', 'me', 3, { gen: GEN + 1, epoch: 2 }));
  assert.equal(roster.unsettled, true);
  roster.sync({ roomId: 'room', snapshot: [member('me', 'me', 2), member('ann', 'ann', 2)], seq: 3, gen: GEN + 1 });
  assert.equal(roster.unsettled, false);
  assert.deepEqual(roster.violations, []);
});

test('a member that was never announced may still expire', () => {
  const roster = rosterOf();
  roster.apply(event('leave', 'ghost', 6, { reason: 'expired' }));
  assert.deepEqual(roster.violations, []);
});
