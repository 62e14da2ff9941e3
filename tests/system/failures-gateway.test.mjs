// When a gateway dies, stops or is paused: its users leave once, and no ghosts stay behind.
import assert from 'node:assert/strict';

import { Client } from '../harness/client.mjs';
import { membersKey } from '../harness/keys.mjs';
import { scenario } from '../harness/scenario.mjs';
import { holds, sleep, until, withTimeout } from '../harness/until.mjs';

const USERS = 20;

// A watcher at gateway 0 and `USERS` users at gateway 1.
async function watchOthers(system, room) {
  const watcher = await system.connect(0);
  await watcher.join(room, 'watcher');
  const users = await Promise.all(Array.from({ length: USERS }, async (_, index) => {
    const user = await system.connect(1);
    await user.join(room, `user-${index}`, { index });
    return user;
  }));
  const names = users.map((_, index) => `user-${index}`);
  await watcher.sees(['watcher', ...names]);
  return { watcher, users, names };
}

const leaves = (watcher) => watcher.events.filter(({ type }) => type === 'leave');

scenario('kill -9 of a gateway: one leave each within 8 s, node_lost', { gateways: 2, states: 2, reapers: 2 }, async ({ system, room }) => {
  const { watcher, users, names } = await watchOthers(system, room);
  const connIds = users.map(({ connId }) => connId).sort();
  await system.evictionsAllowed();
  await system.gateways[1].kill();
  await watcher.sees(['watcher'], 8000);
  assert.deepEqual(leaves(watcher).map(({ connId }) => connId).sort(), connIds);
  assert.deepEqual([...new Set(leaves(watcher).map(({ reason }) => reason))], ['node_lost']);

  // They reconnect elsewhere, and stay.
  for (const name of names) {
    const again = await system.connect(0);
    await again.join(room, name);
  }
  await watcher.sees(['watcher', ...names]);
  await holds('no second leave', () => leaves(watcher).length === USERS, { ms: 2000 });
  assert.equal((await watcher.patch({ n: 1 })).changed, true);
});

scenario('a lost gateway is cleaned up, even if one of its rooms cannot be read', { gateways: 2 }, async ({ system, room }) => {
  const { watcher } = await watchOthers(system, room);
  const broken = await system.connect(1, { follow: false });
  await broken.join(`${room}-broken`, 'nobody');
  await system.redis.command('DEL', membersKey(`${room}-broken`));
  await system.redis.command('SET', membersKey(`${room}-broken`), 'not ours');
  await system.gateways[1].kill();
  await watcher.sees(['watcher'], 20_000);
  const logged = (message) => [...system.reapers, ...system.states].flatMap(({ child }) => child.lines).filter((line) => line.includes(message));
  await until('the reaper to finish', () => logged('gateway lease expired').length === 1);
  assert.equal(logged('room skipped: it cannot be read').length, 1);
});

scenario('SIGTERM of a gateway: unready, no new sockets, closed over a window, nothing left', { gateways: 2, env: { DRAIN_MS: '2000' } }, async ({ system, room }) => {
  const { watcher, users } = await watchOthers(system, room);
  const gateway = system.gateways[1];
  const { instance } = (await gateway.get('/version')).body;
  const holdsALease = async () => (await system.redis.command('ZSCORE', 'prs:{directory}:leases', instance)) !== null;
  assert.ok(await holdsALease());
  const closed = [];
  for (const { socket } of users) socket.on('disconnect', () => closed.push(Date.now()));
  const ended = gateway.terminate();
  await gateway.unready({ within: 1000 });
  await assert.rejects(Client.connect(gateway.url), 'a new socket was let in');

  assert.deepEqual(await ended, { code: 0, signal: null });
  await until('every socket to be closed', () => closed.length === USERS);
  const window = Math.max(...closed) - Math.min(...closed);
  assert.ok(window > 500, `all sockets were closed within ${window} ms`);
  await watcher.sees(['watcher'], 3000);
  assert.equal(leaves(watcher).length, USERS);
  assert.deepEqual([...new Set(leaves(watcher).map(({ reason }) => reason))], ['disconnected']);
  assert.ok(!(await holdsALease()), 'the gateway left its lease behind');
  assert.deepEqual(await system.redis.keys(`*:rooms:${instance.slice(-8)}`), []);
});

scenario('a second signal ends a draining gateway at once', { env: { DRAIN_MS: '60000' } }, async ({ system, room }) => {
  const [gateway] = system.gateways;
  const users = await system.connectMany(10);
  await Promise.all(users.map((user, index) => user.join(room, `user-${index}`)));
  gateway.child.signal('SIGTERM');
  await gateway.unready({ within: 1000 });
  gateway.child.signal('SIGINT');
  await withTimeout('the exit', 1000, gateway.child.exited);
});

scenario('a gateway paused for 15 s: its users leave once and come back once', { gateways: 2 }, async ({ system, room }) => {
  const { watcher, users, names } = await watchOthers(system, room);
  users.forEach((user) => user.pulse());
  await system.evictionsAllowed();
  system.gateways[1].pause();
  const pausedAt = Date.now();
  await watcher.sees(['watcher'], 14_000);
  await watcher.patch({ meanwhile: true });
  await sleep(15_000 - (Date.now() - pausedAt)); // the length of the pause is the point
  system.gateways[1].resume();

  await watcher.sees(['watcher', ...names], 10_000);
  // A restored record may be sent as an update of a present member.
  const comesOrGoes = ({ type }) => type !== 'update';
  const story = () => names.map((userId) => watcher.events.filter((event) => event.userId === userId && comesOrGoes(event)).map(({ type }) => type).join(' '));
  const once = names.map(() => 'join leave join');
  await holds('one leave and one return each', () => {
    assert.deepEqual(story(), once);
    return true;
  }, { ms: 3000 });
  const reasons = new Set(leaves(watcher).map(({ reason }) => reason));
  assert.deepEqual([...reasons], ['node_lost']);
}, { within: 90_000 });

scenario('SIGTERM while joins and patches are in flight: no member is left behind', { gateways: 1, env: { DRAIN_MS: '100' } }, async ({ system, room }) => {
  const members = await system.connectMany(USERS, { follow: false });
  const joining = await system.connectMany(USERS, { follow: false });
  await Promise.all(members.map((member, index) => member.ask('presence:join', { roomId: room, userId: `member-${index}` })));
  const [state] = system.states;
  state.pause();
  joining.forEach((client, index) => client.socket.emit('presence:join', { roomId: room, userId: `joining-${index}` }));
  members.forEach((member) => member.socket.emit('presence:heartbeat', { patchState: { x: 1 } }));
  await sleep(100); // until the gateway has them
  const stopped = system.gateways[0].terminate();
  await sleep(800);
  state.resume();
  await stopped;
  assert.equal(Number(await system.redis.command('HLEN', membersKey(room))), 0);
  assert.deepEqual(await (await system.redis.command('ZRANGE', 'prs:{directory}:leases', '0', '-1')).filter((name) => name.startsWith('presence-gateway')), []);
});
