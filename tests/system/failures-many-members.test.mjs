// When a gateway with ten thousand members is killed: the others are sent one leave for each, in time, and no script
// blocks Redis for long, neither then nor while the members come.
import assert from 'node:assert/strict';

import { scenario } from '../harness/scenario.mjs';
import { spawnService } from '../harness/service.mjs';
import { SlowLog } from '../harness/slowlog.mjs';
import { RawMembers, each } from '../harness/raw-members.mjs';
import { holds, until, withTimeout } from '../harness/until.mjs';

const MEMBERS = 10_000;
const LEAVES_WITHIN_MS = 8000;
const LONGEST_SCRIPT_MS = 50;
// Both ends of a connection to the gateway that is killed, and what the tests themselves have open.
const OPEN_FILES = 15_000;

const SYSTEM = { gateways: 2, states: 2, reapers: 2 };

function skip() {
  const { hard } = process.report.getReport().userLimits.open_files;
  return hard !== 'unlimited' && hard < OPEN_FILES && `${OPEN_FILES} open files are needed and ${hard} allowed: raise \`ulimit -Hn\``;
}

// Every event that these clients receive from now on, and when.
function receivedBy(clients) {
  const received = [];
  for (const client of clients) {
    client.socket.on('presence:event', ({ type, connId, reason, resync }) => received.push({ client, type, connId, reason, resync, at: Date.now() }));
  }
  return received;
}

// Each client receives one leave for each lost connection, in time, and no other. The reason is `node_lost`, but where a
// client did not read fast enough and is sent the rest as a resync: there it is filled in.
async function assertEachLeaveOnce(t, received, expected, killedAt) {
  await until('every leave to arrive', () => received.length >= expected.length, { within: 20_000 });
  const times = received.map(({ at }) => at - killedAt).sort((one, other) => one - other);
  t.diagnostic(`${received.length} leaves were received ${times[0]} to ${times.at(-1)} ms after the kill`);
  await holds('no leave arrives twice', () => received.length === expected.length, { ms: 2000 });
  const resynced = received.filter(({ resync }) => resync).length;
  if (resynced > 0) t.diagnostic(`${resynced} of them came as a resync`);
  assert.deepEqual(new Set(received.filter(({ resync }) => !resync).map(({ reason }) => reason)), new Set(['node_lost']));
  const [actual, wanted] = [received, expected].map((all) => all.map(({ client, type = 'leave', connId }) => `${client.connId} receives the ${type} of ${connId}`).sort());
  const wrong = actual.findIndex((line, index) => line !== wanted[index]);
  assert.ok(wrong < 0, `${actual[wrong]}; expected: ${wanted[wrong]}`);
  assert.ok(times.at(-1) <= LEAVES_WITHIN_MS, `the last leave arrived ${times.at(-1)} ms after the kill`);
}

// How many of each room's four members are at the killed gateway. No event about the others may arrive.
const GONE_OF_FOUR = [...Array(3300).fill(3), ...Array(50).fill(2)];

scenario('kill -9 of a gateway with 10,000 members in rooms of 4', { ...SYSTEM, skip: skip() }, async ({ system, room, t }) => {
  const slowLog = await SlowLog.of(system.redis);
  const places = (countOf) => GONE_OF_FOUR.flatMap((gone, number) => Array(countOf(gone)).fill(number));
  const [goneFrom, staysIn] = [places((gone) => gone), places((gone) => 4 - gone)];
  assert.equal(goneFrom.length, MEMBERS);
  const roomOf = (number) => `${room}-${number}`;

  const others = await each(staysIn.length, async (index) => {
    const client = await system.connect(0);
    await client.join(roomOf(staysIn[index]), `stays-${index}`);
    return client;
  });
  const remote = await RawMembers.connect(system.gateways[1], MEMBERS, (index) => [roomOf(goneFrom[index]), `gone-${index}`]);
  try {
    await until('everyone to see all four', () => others.every(({ roster }) => roster.members.size === 4), { within: 15_000 });
    await system.evictionsAllowed();
    await slowLog.assertShort(t, 'while 13,400 join rooms of 4', LONGEST_SCRIPT_MS);

    const goneOf = new Map(GONE_OF_FOUR.map((_, number) => [number, []]));
    remote.members.forEach(({ connId }, index) => goneOf.get(goneFrom[index]).push(connId));
    const expected = others.flatMap((client, index) => goneOf.get(staysIn[index]).map((connId) => ({ client, connId })));
    assert.equal(remote.open, MEMBERS);
    const received = receivedBy(others);
    const killedAt = Date.now();
    await system.gateways[1].kill();
    await assertEachLeaveOnce(t, received, expected, killedAt);
    await slowLog.assertShort(t, 'after the kill', LONGEST_SCRIPT_MS);
  } finally {
    slowLog.stop();
    remote.close();
  }
}, { within: 120_000 });

// The gateway that is killed is a stand-in (bench/src/bin/stand-in.rs): a process with a real lease that sends real joins over
// the real bus, but has no sockets. With sockets each of its members would receive every later join: fifty million messages, and
// minutes of two cores, before the test could begin. Everything that the kill involves is real.
const WATCHERS = 3;
const NEWCOMERS = 1;
const REMOTE_MEMBERS = MEMBERS - WATCHERS - NEWCOMERS;

scenario('kill -9 of a gateway with 10,000 members in one room', { ...SYSTEM, skip: skip() }, async ({ system, room, t }) => {
  const slowLog = await SlowLog.of(system.redis);
  const watchers = await system.connectMany(WATCHERS);
  await Promise.all(watchers.map((watcher, index) => watcher.join(room, `watcher-${index}`)));

  const state = JSON.stringify({ status: 'online', cursor: { x: 1024, y: 768 } });
  const standIn = spawnService('stand-in', { REDIS_URL: system.redis.url }, [room, String(REMOTE_MEMBERS), state]);
  try {
    const began = Date.now();
    await withTimeout('the members to join', 60_000, standIn.line((line) => line === 'joined' || undefined));
    await until('every watcher to see them', () => watchers.every(({ roster }) => roster.members.size === REMOTE_MEMBERS + WATCHERS), { within: 30_000 });
    t.diagnostic(`${REMOTE_MEMBERS} joined within ${Date.now() - began} ms`);
    await slowLog.assertShort(t, `while ${REMOTE_MEMBERS} join one room`, LONGEST_SCRIPT_MS);
    await system.evictionsAllowed();

    const newcomer = await system.connect(0);
    await slowLog.reset();
    const asked = Date.now();
    const { snapshot } = await newcomer.join(room, 'newcomer');
    t.diagnostic(`a newcomer was shown ${snapshot.length} members after ${Date.now() - asked} ms`);
    assert.equal(snapshot.length, MEMBERS);
    await until('every watcher to see the newcomer', () => watchers.every(({ roster }) => roster.members.size === MEMBERS));
    await slowLog.assertShort(t, 'while a newcomer is shown the room', LONGEST_SCRIPT_MS);

    const others = [...watchers, newcomer];
    const gone = [...newcomer.roster.members].filter(([, { userId }]) => userId.startsWith('user-')).map(([connId]) => connId);
    assert.equal(gone.length, REMOTE_MEMBERS);
    const received = receivedBy(others);
    const killedAt = Date.now();
    await standIn.kill();
    await assertEachLeaveOnce(t, received, others.flatMap((client) => gone.map((connId) => ({ client, connId }))), killedAt);
    await slowLog.assertShort(t, 'after the kill', LONGEST_SCRIPT_MS);
  } finally {
    slowLog.stop();
    await standIn.kill();
  }
}, { within: 120_000 });
