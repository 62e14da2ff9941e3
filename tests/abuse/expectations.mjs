// What must hold whatever one client does. Nothing here measures or waits.
import { MIB } from './measure.mjs';

const P99_MS = 100;
const MEMORY_FACTOR = 1.5;
// Of its limit. An attack that gets further in seconds kills it in minutes.
const PEAK_SHARE = 0.5;
// The allocator's and Redis' own ups and downs.
const REDIS_SLACK_BYTES = 4 * MIB;
// HAProxy keeps the memory of connections for the next ones: of the 2,000 that one address may have, with two buffers of 16 KiB each.
const EDGE_POOLS_BYTES = 64 * MIB;
// Honest newcomers come and go.
const KEYS_SLACK = 4;
// Some five times what honest users alone export; for attackers whose input is refused.
const EXPORT_BYTES_PER_S = MIB / 3;
const LAST_LINES = 6;
// Kinds of keys that a client may leave behind: metadata lives for METADATA_TTL_MS.
const LASTING = ['meta', 'revisions'];

const mib = (bytes) => `${Math.round(bytes / MIB)} MiB`;

// Whether a process that had `before` bytes has given back what it took. Redis keeps what the attacker may leave behind, the edge
// its pools.
export function isReturned(name, before, now, allows) {
  const stays = { redis: allows.bytes + REDIS_SLACK_BYTES, edge: EDGE_POOLS_BYTES };
  return now <= MEMORY_FACTOR * before + (stays[name] ?? 0);
}

// What is in Redis that was not there before: {keys, bytes, wrong: what of it may not be, in words}.
export function leftovers(before, now, allows) {
  const grown = Object.keys(now.kinds).map((kind) => [kind, now.kinds[kind] - (before.kinds[kind] ?? 0)]);
  const tooMany = grown.filter(([kind, more]) => more > KEYS_SLACK + (LASTING.includes(kind) ? allows.keys : 0));
  const wrong = tooMany.map(([kind, more]) => `${more} keys more of ${kind}`);
  const bytes = now.bytes - before.bytes;
  if (bytes > allows.bytes + REDIS_SLACK_BYTES) wrong.push(`${mib(bytes)} more`);
  return { keys: grown.reduce((sum, [, more]) => sum + Math.max(0, more), 0), bytes: Math.max(0, bytes), wrong };
}

// What did not hold: [{kind, text}].
export function failuresOf({ dead, errors, tolerates, answers, events, peaks, kept, left, exportedPerS, isRefused, tally, floor }) {
  const failures = dead.map((child) => ({ kind: 'death', text: child.report().split('\n').slice(-LAST_LINES).join('\n') }));
  const fail = (kind, text) => failures.push({ kind, text });
  for (const [what, times] of errors) if (!tolerates.includes(what)) fail('errors', `${times} × ${what}`);
  for (const [what, { p99 }] of Object.entries({ answer: answers, event: events })) {
    if (!(p99 < P99_MS)) fail('p99', `p99 of an honest ${what} ${p99?.toFixed(0)} ms, not under ${P99_MS} ms`);
  }
  for (const { name, peak, limit } of peaks.filter(({ peak, limit }) => peak > PEAK_SHARE * limit)) {
    fail('peak', `${name} had up to ${mib(peak)} of ${mib(limit)}`);
  }
  for (const { name, before, now } of kept) fail('memory', `${name} had ${mib(before)} and still has ${mib(now)}`);
  if (left.wrong.length) fail('leftovers', `Redis has ${left.wrong.join(', ')}`);
  if (isRefused && exportedPerS > EXPORT_BYTES_PER_S) fail('telemetry', `${Math.round(exportedPerS / 1024)} KiB of telemetry a second`);
  for (const text of tally.broken) fail('broken', text);
  // An attack that did less than its floor attacked nothing, and proves nothing.
  if (tally.opened < floor.opened) fail('idle', `it opened ${tally.opened} connections, not ${floor.opened}`);
  if (tally.requests < floor.requests) fail('idle', `it sent ${tally.requests} requests, not ${floor.requests}`);
  return failures;
}
