// Every limit in the protocol's source, and those of the services that clients meet, is in limits.md with its value.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { read } from '../harness/repository.mjs';

const KIB = 1024;
const number = (value) => value.toLocaleString('en-US');
const size = (value) => (value % (KIB * KIB) === 0 ? `${value / KIB / KIB} MiB` : `${value / KIB} KiB`);
const seconds = (value) => `${value} s`;
const below = (power) => (value) => (value === 2 ** power - 1 ? `2^${power} − 1` : `${value}`);
const power = (value) => `2^${Math.log2(value)}`;
const gateway = (file) => `services/gateway/src/${file}.rs`;

// file → constant → how its row begins, and how the row says it.
const LIMITS = {
  'shared/protocol/src/limits.rs': {
    MAX_SAFE_INTEGER: ['`majorRevision`, `revision` and `epoch`', below(53)],
    MAX_ID_BYTES: ['`roomId`, `userId`', (value) => `1 to ${value} bytes`],
    MAX_DEPTH: ['state, patch', (value) => `${value} levels`],
    MAX_STATE_BYTES: ['state, patch', size],
    MAX_INFO_BYTES: ['`info` of a token', size],
    MAX_ADOPTED_EPOCH: ['`epoch` to adopt', power],
    MAX_ROOM_MEMBERS: ['members of a room', number],
    MAX_ROOM_BYTES: ['bytes of a room', (value) => `8 MiB less ${size(8 * KIB * KIB - value)}`],
    MAX_ITEMS: ['items of a channel', number],
    MAX_CHANNEL_BYTES: ['bytes of a channel', size],
    MAX_VALUE_BYTES: ['one metadata value', size],
    MAX_CHANNEL_TYPES: ['types of channels', number],
    MAX_GIVEN_REVISION: ['`revision` to set', power],
    DEFAULT_LOCK_TTL_MS: ['`ttlMs`', (value) => `${number(value)} if absent`],
    MIN_LOCK_TTL_MS: ['`ttlMs`', (value) => `${number(value)} to`],
    MAX_LOCK_TTL_MS: ['`ttlMs`', (value) => `to ${number(value)}`],
    MAX_LOCK_WAIT_MS: ['`waitMs`', (value) => `0 to ${number(value)}`],
  },
  'services/presence-state/src/store/locks.rs': {
    MOST_LOCKS: ['locks, and waiters', (value) => `${value} each`],
    MOST_WAITERS: ['locks, and waiters', (value) => `${value} each`],
  },
  [gateway('socket/verbs/acquire')]: {
    MOST: ['locks that one socket', number],
  },
  [gateway('flow/mod')]: {
    PAUSE: ['events of one socket |', (value) => `not read for ${seconds(value)}`],
    QUEUE_PAUSE: ['events of one socket that wait', (value) => `up to ${seconds(value)}`],
  },
  [gateway('socket/session')]: {
    QUEUE: ['events of one socket that wait', number],
    NEARLY_FULL: ['events of one socket that wait', (value) => `from ${value} on`],
  },
  [gateway('socket/mod')]: {
    MAX_MESSAGE_BYTES: ['one message |', size],
    MOST_OWED: ['what a socket sends that is not an event', (value) => `owes ${seconds(value)}`],
    MAX_WAITING_PACKETS: ['messages that wait', number],
  },
  [gateway('http/traffic')]: {
    MESSAGE_WITHIN: ['a message that is begun', (value) => `within ${seconds(value)}`],
  },
  [gateway('flow/outward')]: {
    MOST_WAITING: ['messages that wait', size],
  },
  [gateway('relay/room/mod')]: {
    BEHIND_LIMIT: ['messages that wait', (value) => `after ${seconds(value)} it is closed`],
  },
  [gateway('flow/pace/bucket')]: {
    MOST: ['states, writes of metadata', (value) => `${value / 1e6} MB a second`],
    LEAST: ['states, writes of metadata', (value) => `down to ${value / 1e6}`],
  },
  [gateway('flow/pace')]: {
    LARGE: ['states, writes of metadata', (value) => `from ${size(value)} on`],
    WITHIN: ['states, writes of metadata', (value) => `after ${seconds(value)}`],
    MOST_IN_LINE: ['states, writes of metadata', (value) => `${value / 1e6} MB in the line`],
    MOST_WRITTEN: ['states, writes of metadata', (value) => `${size(value)} are under way`],
  },
  [gateway('flow/large')]: {
    LARGE: ['answers of joins', size],
    PACED: ['states, writes of metadata', (value) => `joins from ${size(value)} on`],
    COPIES: ['answers of joins', (value) => `${value} times their bytes`],
  },
  [gateway('relay/entering')]: {
    LARGE_MEMBER: ['answers of joins', (value) => `of members of ${size(value)} or more`],
  },
  [gateway('relay/registry')]: {
    ASKED_KIB: ['answers of joins', (value) => `${size(value * 1024)} in all`],
  },
  [gateway('socket/verbs/join')]: {
    TURNS_WITHIN: ['answers of joins', (value) => `after ${seconds(value)}`],
  },
  [gateway('relay/inbox')]: {
    MOST_BYTES: ['events that wait in a gateway', (value) => `${size(value)} of one room`],
  },
  [gateway('relay/delivery')]: {
    MOST_BYTES: ['events that wait in a gateway', (value) => `${size(value)} of all`],
  },
  [gateway('http/sessions')]: {
    MOST_OUTSIDE: ['of these, sessions', number],
    MOST_OUTSIDE_OF_ADDRESS: ['of these, sessions', (value) => `one address ${value}`],
  },
  [gateway('http/slot')]: {
    OUTSIDE_FOR: ['of these, sessions', (value) => `for ${seconds(value)}`],
  },
  [gateway('http/server')]: {
    MORE_THAN_SESSIONS: ['connections of a gateway', (value) => `${number(value)} more`],
    RESERVED_FILES: ['connections of a gateway', (value) => `${value} fewer`],
    MOST_OF_ADDRESS: ['connections of one address', number],
    HEAD_BYTES: ['head of a request', size],
  },
  [gateway('http/requests')]: {
    URI_BYTES: ['head of a request', (value) => `URI ${size(value)}`],
    BODY_WITHIN: ['body of a request', (value) => `within ${seconds(value)}`],
  },
  [gateway('http/timed')]: {
    HEAD_WITHIN: ['head of a request', (value) => `within ${seconds(value)}`],
    IDLE_FOR: ['a connection without a request', seconds],
    STALLED_FOR: ['an answer that is not read', seconds],
  },
};

const ROWS = read('docs/reference/limits.md').split('\n').filter((line) => /^\| /.test(line) && !line.startsWith('| what |'));

/** The value of a constant: a number, or a `Duration` in seconds. */
function valueOf(source, name) {
  const expression = source.match(new RegExp(`\\bconst ${name}: [^=]+ = ([^;]+);`))?.[1];
  if (!expression) return undefined;
  const [, unit, inner] = expression.match(/^Duration::from_(\w+)\((.+)\)$/) ?? [null, 'secs', expression];
  const sum = inner.replaceAll('_', '').replace(/(\d+) << (\d+)/g, '($1 * 2 ** $2)'); // a shift in JavaScript ends at 32 bits
  assert.match(sum, /^[\d\s()*+-]+$/, `${name} = ${expression}: not a number`);
  return Number(new Function(`return ${sum}`)()) * { secs: 1, millis: 0.001 }[unit];
}

for (const [file, constants] of Object.entries(LIMITS)) {
  test(`limits.md has those of ${file}`, () => {
    const source = read(file);
    for (const [name, [start, format]] of Object.entries(constants)) {
      const value = valueOf(source, name);
      assert.ok(value !== undefined, `${file} has no ${name} any more: change this list and the page`);
      const found = ROWS.filter((row) => row.startsWith(`| ${start}`));
      assert.equal(found.length, 1, `rows that begin with ${start}`);
      assert.ok(found[0].includes(format(value)), `${name} is ${format(value)}, the page says: ${found[0]}`);
    }
  });
}

test('every limit of the protocol is in the list above', () => {
  const names = [...read('shared/protocol/src/limits.rs').matchAll(/^pub const (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(names.filter((name) => !LIMITS['shared/protocol/src/limits.rs'][name]), []);
});

test('every row says a constant, a variable, or what another row says', () => {
  const starts = Object.values(LIMITS).flatMap((constants) => Object.values(constants)).map(([start]) => `| ${start}`);
  const isVariable = /`[A-Z]+(?:_[A-Z]+)+`/;
  const isListed = (row) => starts.some((start) => row.startsWith(start));
  const known = (row) => isListed(row) || isVariable.test(row.split('|')[2]) || row.includes('like `roomId`');
  // In scripts, or in no constant.
  const others = ['| stored metadata in all', '| binary attachments'];
  assert.deepEqual(ROWS.filter((row) => !known(row) && !others.some((start) => row.startsWith(start))), []);
});
