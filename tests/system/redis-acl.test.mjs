// Each service has a user of Redis that may do what it does, and no more: with the users of docker-compose.yml everything works and
// nothing is refused, and what only presence-state may do is refused to the others.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { assertAgreement } from '../harness/agreement.mjs';
import { membersKey, roomKey } from '../harness/keys.mjs';
import { RespClient } from '../harness/resp.mjs';
import { Sentinel } from '../harness/sentinel.mjs';
import { spawnService } from '../harness/service.mjs';
import { System } from '../harness/system.mjs';
import { Issuer } from '../harness/tokens.mjs';
import { until } from '../harness/until.mjs';
import { SERVICES, Users } from '../harness/users.mjs';

const GONE_MS = 30_000;

async function start(t, users, given) {
  const redis = given ?? (await users.startRedis());
  const system = new System(redis, {});
  t.after(() => system.close());
  await system.addState(users.env(redis, 'presence-state'));
  await Promise.all([
    system.addReaper({ ...users.env(redis, 'reaper'), PRESENCE_REAPER_INTERVAL_MS: '500' }),
    system.addGateway(users.env(redis, 'gateway')),
    system.addGateway(users.env(redis, 'gateway')),
  ]);
  return { redis, system };
}

// What any of these servers refused, as "user: reason command or key".
async function refusals(...servers) {
  const entries = (await Promise.all(servers.map((server) => server.command('ACL', 'LOG')))).flat();
  const named = entries.map((flat) => Object.fromEntries(flat.flatMap((name, at) => (at % 2 ? [] : [[name, flat[at + 1]]]))));
  return named.map(({ username, reason, object }) => `${username}: ${reason} ${object}`);
}

// A server that was promoted is found by each service in its own time; until then writes are UNAVAILABLE.
async function joinsAgain(system, room) {
  for (const gateway of system.gateways.keys()) {
    const probe = await system.connect(gateway);
    const join = () => probe.ask('presence:join', { roomId: room, userId: 'probe', state: {} });
    await until('a join to be carried out', async () => (await join()).ok, { within: GONE_MS });
    await probe.leave();
    probe.close();
  }
}

async function everyOperation([ann, bob, cyd], room) {
  for (const [index, member] of [ann, bob, cyd].entries()) await member.join(room, `user-${index}`, { n: 0 });
  await bob.patch({ n: 1 });
  await ann.receives({ type: 'update', connId: bob.connId });
  const set = await ann.metadata('setChannel', room, 'T', [{ key: 'k', value: 1 }, { key: 'l', value: 2 }]);
  await bob.metadata('updateChannel', room, 'T', [{ key: 'k', value: 3 }], { majorRevision: set.majorRevision });
  await bob.metadata('removeChannel', room, 'T', [{ key: 'l' }]);
  await ann.metadata('setChannel', 'elsewhere', 'T', [{ key: 'k', value: 1 }]);
  await ann.metadata('removeChannel', 'elsewhere', 'T');
  assert.equal((await ann.metadata('getChannel', room, 'T')).metadata.k.value, 3);
  const { fence } = await ann.lock('acquire', room, 'pen');
  const waiting = bob.lock('acquire', room, 'pen', { waitMs: 5000 });
  assert.equal((await cyd.lock('acquire', room, 'pen')).code, 'LOCK_HELD');
  await ann.lock('renew', room, 'pen', { fence });
  await ann.lock('get', room);
  await ann.lock('release', room, 'pen', { fence });
  assert.equal((await waiting).ok, true);
  await cyd.lock('acquire', room, 'brush', { ttlMs: 1000 });
  await cyd.leave();
}

test('with a user for each service everything works, and nothing is refused', { timeout: 120_000 }, async (t) => {
  const { redis, system } = await start(t, new Users());
  const members = [await system.connect(0), await system.connect(0), await system.connect(1)];
  await everyOperation(members, 'room');
  const [ann, bob] = members;

  const gone = await Promise.all([0, 1, 2].map(async (n) => {
    const member = await system.connect(1, { follow: false });
    await member.join('room', `gone-${n}`);
    await member.lock('acquire', 'room', `lock-${n}`);
    return member;
  }));
  await ann.sees(['user-0', 'user-1', 'gone-0', 'gone-1', 'gone-2']);
  await system.gateways[1].kill();
  await ann.sees(['user-0', 'user-1'], GONE_MS);
  gone.forEach((member) => member.close());
  assert.deepEqual(await refusals(redis), []);

  // Redis comes back empty: everyone is restored.
  await redis.kill();
  await redis.restart();
  await until('the members to be back in Redis', async () => await redis.command('HLEN', membersKey('room')) === 2, { within: GONE_MS });
  assert.equal((await bob.patch({ n: 2 })).changed, true);
  await ann.receives({ type: 'update', connId: bob.connId });
  await everyOperation(await Promise.all([0, 0, 0].map(() => system.connect(0))), 'another');
  assert.deepEqual(await refusals(redis), []);
  await assertAgreement(system);
  assert.deepEqual(system.complaints(), []);
});

test('with tokens, revoked ones too, nothing is refused', { timeout: 60_000 }, async (t) => {
  const users = new Users();
  const issuer = new Issuer();
  t.after(() => issuer.close());
  const redis = await users.startRedis();
  const system = new System(redis, issuer.env);
  t.after(() => system.close());
  await system.addState(users.env(redis, 'presence-state'));
  await system.addGateway(users.env(redis, 'gateway'));
  system.issuer = issuer;
  const [ann, bob] = [await system.connect(0, { as: 'ann' }), await system.connect(0, { as: 'bob' })];
  for (const [name, member] of Object.entries({ ann, bob })) await member.join('room', name);
  const revoke = spawnService('presence-gateway', { ...system.env, ...users.env(redis, 'gateway') }, ['revoke', '--sub', 'ann']);
  assert.equal((await revoke.exited).code, 0, revoke.report());
  await ann.disconnected();
  assert.equal((await bob.patch({ n: 1 })).changed, true);
  assert.deepEqual(await refusals(redis), []);
});

test('Redis has everything that the services wrote after it was restarted', { timeout: 60_000 }, async (t) => {
  const users = new Users();
  const { redis, system } = await start(t, users, await users.startRedis({ durable: true }));
  const [ann, bob] = [await system.connect(0), await system.connect(1)];
  await ann.join('room', 'ann');
  await bob.join('room', 'bob', { n: 1 });
  await ann.metadata('setChannel', 'room', 'T', [{ key: 'k', value: 1 }]);
  const { fence } = await ann.lock('acquire', 'room', 'pen', { ttlMs: 60_000 });
  // What follows is read with no service that could write it again.
  await Promise.all(system.services.map((service) => service.kill()));
  // A set is read back in another order than it was written in.
  const value = async (key) => (await redis.command('TYPE', key)) === 'set' ? (await redis.command('SMEMBERS', key)).sort() : redis.command('DUMP', key);
  const all = async () => Object.fromEntries(await Promise.all((await redis.keys('prs:{p*')).map(async (key) => [key, await value(key)])));
  const before = await all();
  assert.ok(fence && Object.keys(before).some((key) => key.includes(':locks:')) && Object.keys(before).some((key) => key.includes(':meta:')), Object.keys(before).join());
  await redis.kill();
  await redis.restart();
  assert.deepEqual(await all(), before);
});

// ASKING is sent only while slots move.
const BY_THE_LIBRARY = [['CLUSTER', 'INFO'], ['CLUSTER', 'SLOTS'], ['ASKING'], ['ROLE']];

test('on a cluster nothing is refused, before and after a master is lost', async (t) => {
  const users = new Users();
  const redis = await users.startCluster();
  const { system } = await start(t, users, redis);
  for (const user of SERVICES) {
    for (const command of BY_THE_LIBRARY) assert.equal(await redis.nodes[0].command('ACL', 'DRYRUN', user, ...command), 'OK', `${user}: ${command}`);
  }
  const living = () => redis.nodes.filter(({ child }) => !child.exit);
  await everyOperation(await Promise.all([0, 0, 1].map((gateway) => system.connect(gateway))), 'room');

  await redis.lose(await redis.masterOf(membersKey('room')));
  await Promise.all(system.services.map((service) => service.ready(GONE_MS)));
  await joinsAgain(system, 'another');
  await everyOperation(await Promise.all([0, 0, 1].map((gateway) => system.connect(gateway))), 'another');
  assert.deepEqual(await refusals(...living()), []);
}, { timeout: 120_000 });

test('behind Sentinel nothing is refused, before and after a failover', async (t) => {
  const users = new Users();
  const first = await users.startRedis({ options: users.replication });
  const second = await users.startRedis({ options: { ...users.replication, replicaof: ['127.0.0.1', first.port], 'repl-diskless-sync-delay': 0 } });
  t.after(() => Promise.all([first, second].map((server) => server.kill())));
  const sentinel = await Sentinel.start({ primary: first.port, replica: second.port, lines: users.sentinelLines });
  const { system } = await start(t, users, sentinel);
  await everyOperation(await Promise.all([0, 0, 1].map((gateway) => system.connect(gateway))), 'room');
  assert.deepEqual(await refusals(first, second), []);

  await first.command('WAIT', 1, 5000);
  await first.kill();
  await sentinel.names(second.port);
  await Promise.all(system.services.map((service) => service.ready(GONE_MS)));
  await joinsAgain(system, 'another');
  await everyOperation(await Promise.all([0, 0, 1].map((gateway) => system.connect(gateway))), 'another');
  assert.deepEqual(await refusals(second), []);
}, { timeout: 120_000 });

test('no user may do what it does not need', async (t) => {
  const users = new Users();
  const { redis, system } = await start(t, users);
  const ann = await system.connect(0);
  await ann.join('room', 'ann');
  const refused = async (user, ...commands) => {
    const client = await users.connect(redis, user);
    for (const command of commands) await assert.rejects(client.command(...command), /NOPERM|The user executing the script can't/, `${user}: ${command.join(' ')}`);
    client.close();
  };
  const [members, head] = [membersKey('room'), roomKey('room')];
  const event = members.replace(':members:', ':events:');
  const read = ['EVAL', `return redis.call('HGETALL', '${members}')`, '0'];
  const everyone = [['FLUSHALL'], ['CONFIG', 'GET', '*'], ['KEYS', '*'], ['SCAN', '0'], ['MONITOR'], ['ACL', 'LIST'], ['SET', 'other', '1'], ['SCRIPT', 'FLUSH'], ['CLIENT', 'LIST']];
  await refused('gateway', ...everyone, ['GET', head], ['HGETALL', members], ['HSET', members, 'c', 'x'], ['DEL', head], ['SPUBLISH', event, 'x'], read);
  await refused('reaper', ...everyone, ['GET', head], ['HGETALL', members], ['DEL', head], ['SADD', head.replace(':room:room', ':rooms'), 'x'], ['SPUBLISH', event, 'x'], ['SSUBSCRIBE', event], read);
  await refused('presence-state', ...everyone, ['GET', 'other'], ['SPUBLISH', 'other', 'x'], ['SSUBSCRIBE', 'other']);
  const stranger = await RespClient.connect(redis.port);
  await assert.rejects(stranger.command('AUTH', 'default', ''), /WRONGPASS/);
  await assert.rejects(stranger.command('PING'), /NOAUTH/);
  await stranger.command('AUTH', 'health', 'any');
  for (const command of everyone) await assert.rejects(stranger.command(...command), /NOPERM/, `health: ${command.join(' ')}`);
  assert.equal(await stranger.command('PING'), 'PONG');
  stranger.close();
  await refused('collector', ...everyone, ['GET', head], ['DBSIZE'], ['SLOWLOG', 'GET'], ['SUBSCRIBE', 'x'], read);
  assert.equal((await ann.patch({ n: 1 })).changed, true);
});

test('passwords are kept, one for each user, and the given one is that of admin', async (t) => {
  const users = new Users('own.prefix');
  const names = ['redis', 'collector', ...SERVICES];
  const before = names.map((name) => users.password(name));
  assert.equal(new Set(before).size, 5);
  users.setUp();
  assert.deepEqual(names.map((name) => users.password(name)), before);
  writeFileSync(join(users.root, 'given/redis_password'), 'of our own, with "quotes", $ and 100 %\n');
  users.setUp();
  assert.deepEqual(names.map((name) => users.password(name)), ['of our own, with "quotes", $ and 100 %', ...before.slice(1)]);
  const file = readFileSync(users.aclFile, 'utf8');
  assert.ok(!file.includes('PREFIX') && !file.includes('PASSWORD') && file.includes('~own.prefix:{directory}:*'));
  const { redis, system } = await start(t, users);
  const ann = await system.connect(0);
  await ann.join('room', 'ann');
  assert.deepEqual(await refusals(redis), []);
});
