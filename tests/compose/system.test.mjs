// All of Rollcall in containers: docker-compose.yml as it is, three gateways behind the edge, two states, two reapers, and
// the telemetry servers. Everything here is done to it while users are in it.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { TRANSPORTS } from '../harness/client.mjs';
import { Compose, WITHOUT, docker } from '../harness/compose.mjs';
import { JaegerApi } from '../harness/jaeger.mjs';
import { Nomads } from '../harness/nomads.mjs';
import { holds, until } from '../harness/until.mjs';

const SCALES = { gateway: 3, 'presence-state': 2, reaper: 2 };
// Of the telemetry, those that can be asked (docker-compose.yml), and those that are only there if the user has pulled them.
const ASKED = ['jaeger', 'prometheus', 'alertmanager'];
const OPTIONAL = ['loki', 'grafana'];
const ONES = ['redis', 'edge', 'otel-collector', ...ASKED, ...OPTIONAL.filter((service) => !WITHOUT.includes(service))];
const MINUTES = { timeout: 300_000 };
const SERVICES = Object.keys(SCALES);

let system;
let nomads;

before(async () => {
  system = await Compose.named('system', {
    COLLECTOR_SAMPLE_PERCENT: '100', COLLECTOR_DECISION_WAIT: '3s', DRAIN_MS: '5000',
    COMPOSE_FILE: ['docker-compose.yml', ...(WITHOUT.includes('loki') ? ['deploy/compose/without-loki.yml'] : [])].join(':'),
  });
  const scales = Object.entries(SCALES).flatMap(([service, count]) => ['--scale', `${service}=${count}`]);
  try {
    await system.compose('up', '-d', '--no-build', ...scales, ...SERVICES, ...ONES);
    for (const service of ['redis', 'edge']) await system.healthy(service, 1);
    for (const [service, count] of Object.entries(SCALES)) await system.healthy(service, count);
    // Two seconds after its last gateway was healthy the edge knows all of them.
    nomads = await Nomads.settle(system.url);
  } catch (error) {
    const report = await system.report();
    await system.down();
    throw new Error(`the system did not start\n${report}`, { cause: error });
  }
}, MINUTES);

after(async () => {
  await nomads?.leave();
  await system?.down();
}, MINUTES);

// One step of the story: the system is healthy before and after it.
function step(name, body, options = {}) {
  test(name, { ...MINUTES, ...options }, async (t) => {
    try {
      nomads.forget();
      await body(t);
      await nomads.exact();
      await nomads.flows();
      nomads.assertNoOneGaveUp();
      assert.deepEqual([...nomads.complaints(), ...system.complaints()], [], 'what clients received breaks the protocol');
    } catch (error) {
      t.diagnostic(await system.report());
      throw error;
    } finally {
      system.closeClients();
    }
  });
}

const unnoticed = () => assert.deepEqual({ refusals: nomads.refusals, disconnects: nomads.disconnects }, { refusals: [], disconnects: [] });

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  step(`through the edge everything works by ${name}`, async () => {
    const options = { transports };
    const [ann, bob] = [await system.connect(options), await system.connect(options)];
    await ann.join(name, 'ann', { n: 1 });
    await bob.join(name, 'bob');
    await ann.receives({ type: 'join', userId: 'bob' });
    assert.equal((await ann.patch({ n: 2 })).changed, true);
    await bob.receives({ type: 'update', userId: 'ann' });
    assert.equal((await bob.beat()).changed, false);
    const channel = await ann.metadata('setChannel', name, 'T', [{ key: 'k', value: 'v' }]);
    assert.ok(channel.majorRevision > 0);
    const { fence } = await ann.lock('acquire', name, 'turn');
    assert.equal((await bob.lock('acquire', name, 'turn')).code, 'LOCK_HELD');
    assert.equal((await ann.lock('release', name, 'turn', { fence })).ok, true);
    await ann.leave();
    await bob.receives({ type: 'leave', userId: 'ann', reason: 'left' });
  });
}

step('the gateways share the sockets, and each long-polling session stays on its own', async () => {
  const clients = await Promise.all(Array.from({ length: 12 }, () => system.connect({ transports: TRANSPORTS.polling })));
  await Promise.all(clients.map((client, index) => client.join('spread', `user-${index}`)));
  for (let round = 0; round < 5; round += 1) await Promise.all(clients.map((client) => client.patch({ round })));
  const sees = clients.map((_, index) => `user-${index}`);
  for (const client of clients) await client.sees(sees);
  // Eight of the 24 nomads and four of these on each, if they are spread; WebSockets alone are recognized by their open files.
  const gateways = await system.containers('gateway');
  const sockets = gateways.map(({ State }) => readdirSync(`/proc/${State.Pid}/fd`).length);
  assert.ok(Math.min(...sockets) > 0.5 * Math.max(...sockets), `open files of the gateways: ${sockets}`);
});

step('nothing but Socket.IO is passed, and no header that is too large', async () => {
  const status = async (path, options) => (await fetch(system.url + path, options)).status;
  assert.equal(await status('/readyz'), 200); // the edge's own
  for (const path of ['/healthz', '/version', '/', '/socket.iox']) assert.equal(await status(path), 404, path);
  const open = await fetch(`${system.url}/socket.io/?EIO=4&transport=polling`);
  assert.equal(open.headers.get('x-engine-sid'), null);
  const large = { headers: { 'x-large': 'x'.repeat(20_000) } };
  assert.equal(await status('/socket.io/?EIO=4&transport=polling', large), 400);
  const many = { headers: Object.fromEntries(Array.from({ length: 80 }, (_, index) => [`x-${index}`, '1'])) };
  assert.equal(await status('/socket.io/?EIO=4&transport=polling', many), 400);
});

step('a join is one trace through all of it, under the address of the client and not what it claims', async () => {
  const bob = await system.connect();
  await bob.join('traced', 'bob');
  const ann = await system.connect({ transports: TRANSPORTS.websocket, extraHeaders: { 'X-Forwarded-For': '6.6.6.6' } });
  await ann.join('traced', 'ann');
  const jaeger = new JaegerApi(system.jaegerUrl);
  const trace = await jaeger.find('the join of ann', { operation: 'socket presence:join', tags: { 'presence.user_id': 'ann', 'presence.room_id': 'traced' } },
    (spans) => spans.some(({ name }) => name === 'deliver presence.events'), 60_000);
  const names = new Set(trace.map(({ service, name }) => `${service}: ${name}`));
  for (const name of ['presence-gateway: socket presence:join', 'presence-state: presence.join', 'presence-state: EVALSHA presence_join']) {
    assert.ok(names.has(name), `${name} is not among ${[...names].join('; ')}`);
  }
  const connects = await jaeger.traces({ operation: 'socket.connect', limit: 200 });
  const addresses = new Set(connects.flat().filter(({ name }) => name === 'socket.connect').map(({ tags }) => tags['client.address']));
  const [edge] = await system.containers('edge');
  const own = Object.values(edge.NetworkSettings.Networks).map(({ IPAddress }) => IPAddress);
  assert.ok(addresses.size > 0);
  for (const address of ['6.6.6.6', ...own]) assert.ok(!addresses.has(address), `a client is known as ${address}`);
});

step('without Loki, the collector takes log lines and does not look for it', async () => {
  const [{ Config }] = await system.containers('otel-collector');
  assert.ok(Config.Env.includes('COLLECTOR_LOGS_EXPORTER=nop'), Config.Env.join());
  const log = (await system.compose('logs', '--no-color', 'otel-collector')).split('\n');
  assert.ok(log.some((line) => line.includes('Everything is ready')), log.slice(0, 5).join('\n'));
  assert.deepEqual(log.filter((line) => /loki/i.test(line)), []);
}, { skip: !WITHOUT.includes('loki') && 'Loki is here' });

step('no container is root, may become it, or wrote where it may not', async () => {
  for (const { Id, Name, Config, HostConfig, Mounts } of await system.containers()) {
    assert.ok(HostConfig.ReadonlyRootfs, `${Name} may write`);
    assert.deepEqual([HostConfig.CapDrop, HostConfig.Privileged], [['ALL'], false], Name);
    // setup reads the password that the operator gave.
    const added = (HostConfig.CapAdd ?? []).map((name) => name.replace(/^CAP_/, ''));
    assert.deepEqual(added, Config.Labels['com.docker.compose.service'] === 'setup' ? ['DAC_READ_SEARCH'] : [], Name);
    assert.ok(HostConfig.SecurityOpt.some((option) => option.startsWith('no-new-privileges')), Name);
    assert.ok(HostConfig.Memory > 0 || Name.includes('setup'), `${Name} may take all memory`);
    assert.equal(HostConfig.LogConfig.Config['max-size'], '10m');
    assert.doesNotMatch(JSON.stringify(Config.Env ?? []), /password=/i);
    const processes = await docker('top', Id, '-o', 'pid,uid').catch(() => ''); // setup has ended
    for (const line of processes.split('\n').slice(1)) assert.notEqual(line.trim().split(/\s+/)[1], '0', `${Name} runs as root`);
    // What is mounted stands in the file system as an empty place.
    const places = Mounts.map(({ Destination }) => Destination);
    const written = (await docker('diff', Id)).split('\n').filter(Boolean).map((line) => line.slice(2))
      .filter((path) => !places.some((place) => place === path || place.startsWith(`${path}/`)));
    assert.deepEqual(written, [], `${Name} wrote`);
  }
});

step('Redis tells a stranger nothing, and is not reachable from outside', async () => {
  const [{ Id, NetworkSettings }] = await system.containers('redis');
  assert.deepEqual(NetworkSettings.Ports['6379/tcp'] ?? null, null);
  assert.deepEqual(Object.keys(NetworkSettings.Networks).map((name) => name.split('_').pop()), ['inner']);
  for (const command of ['PING', 'DBSIZE']) assert.match(await docker('exec', Id, 'redis-cli', command), /NOAUTH/);
});

step('presence-states and reapers are replaced one by one, and no one notices', async (t) => {
  t.diagnostic((await system.script('deploy/upgrade.sh', ['presence-state', 'reaper'])).trim());
  await nomads.flows();
  unnoticed();
  t.diagnostic(`the slowest answer took ${nomads.slowestMs} ms`);
});

step('all gateways are replaced one by one, and everyone is back in its room', async (t) => {
  const before = await system.ids('gateway');
  t.diagnostic((await system.script('deploy/upgrade.sh', ['gateway'])).trim());
  await nomads.exact();
  assert.equal((await system.ids('gateway')).filter((id) => before.includes(id)).length, 0);
  assert.deepEqual(nomads.refusals, []);
  const away = nomads.awayMs;
  assert.ok(away.length >= nomads.all.length, 'not everyone was moved');
  t.diagnostic(`${away.length} times moved; away for ${away[away.length >> 1]} ms in the middle, ${away.at(-1)} ms at most`);
  assert.ok(away.at(-1) < 5000);
});

step('services grow and shrink, and no request is refused', async () => {
  for (const service of SERVICES) {
    await system.scale(service, SCALES[service] + 1);
    await nomads.flows();
    await system.compose('up', '-d', '--no-build', '--no-deps', '--no-recreate', '--scale', `${service}=${SCALES[service]}`, service);
    await nomads.exact();
  }
  assert.deepEqual(nomads.refusals, []);
});

for (const service of ['presence-state', 'reaper', 'otel-collector']) {
  step(`one ${service} is killed and comes back, and no one notices`, async () => {
    await system.crash(service);
    await nomads.flows(10);
    unnoticed();
    if (SCALES[service]) await system.healthy(service, SCALES[service]);
  });
}

step('one gateway is killed: its users come back elsewhere, the others stay', async (t) => {
  await system.crash('gateway');
  await nomads.exact();
  assert.deepEqual(nomads.refusals, []);
  assert.ok(nomads.disconnects.length < nomads.all.length);
  t.diagnostic(`${nomads.disconnects.length} of ${nomads.all.length} were moved, away for ${nomads.awayMs.at(-1)} ms at most`);
  await system.healthy('gateway', 3);
});

step('the edge is killed and comes back, and so does everyone', async (t) => {
  await system.crash('edge');
  // Long-polling sessions that were cut off are silent: they end when their time to live is over and the reaper
  // has passed, or with the missing ping, within 45 s.
  await nomads.exact(60_000);
  t.diagnostic(`away for ${nomads.awayMs.at(-1)} ms at most`);
});

step('Redis restarts and has everything: who is where, and what was written down', async (t) => {
  const ann = await system.connect({ reconnection: true });
  await ann.join('kept', 'ann');
  const { majorRevision, timestamp } = await ann.metadata('setChannel', 'kept', 'T', [{ key: 'k', value: [] }]);
  // Acknowledged is on disk within a second.
  await holds('the second passes', () => true, { ms: 1200 });
  const [id] = await system.ids('redis');
  await docker('restart', id);
  await system.healthy('redis', 1);
  const channel = await until('the channel to be read', async () => {
    const answer = await ann.ask('metadata:getChannel', { channelName: 'kept', channelType: 'T' });
    return answer.ok && answer;
  }, { within: 15_000 });
  assert.deepEqual([channel.majorRevision, channel.timestamp >= timestamp, channel.metadata.k.value], [majorRevision, true, []]);
  await nomads.exact();
  assert.deepEqual([...new Set(nomads.refusals)].filter((code) => !['UNAVAILABLE', 'TIMEOUT'].includes(code)), []);
  assert.deepEqual([nomads.disconnects, ann.count({ type: 'leave' })], [[], 0]);
  t.diagnostic(`${nomads.refusals.length} requests were refused meanwhile`);
});

const turn = (ids, wanted) => Promise.all(ids.map((id) =>
  until(`${id} to be ${wanted}`, async () => await system.health(id) === wanted, { within: 120_000, every: 300 })));

// Stopped in the middle of its work: it exists and does not answer.
async function redAndGreen(stopped, others) {
  await turn([stopped, ...others], 'healthy');
  await system.signal(stopped, 'SIGSTOP');
  try {
    await turn([stopped, ...others], 'unhealthy');
  } finally {
    await system.signal(stopped, 'SIGCONT');
  }
  await turn([stopped, ...others], 'healthy');
}

for (const service of OPTIONAL) {
  const skip = WITHOUT.includes(service) && `the image of ${service} is missing`;
  step(`the health check of ${service} goes red and green again`, async () => {
    const [id] = await system.ids(service);
    await redAndGreen(id, []);
  }, { skip });
}

step('every other health check goes red and green again', async () => {
  const [[redis], [edge], ...telemetry] = await Promise.all(['redis', 'edge', ...ASKED].map((service) => system.ids(service)));
  const dependents = (await Promise.all(SERVICES.map((service) => system.ids(service)))).flat();
  // Without Redis no service is ready, and without a gateway the edge is not.
  await Promise.all([redAndGreen(redis, [edge, ...dependents]), ...telemetry.map(([id]) => redAndGreen(id, []))]);
  await nomads.exact(60_000);
});
