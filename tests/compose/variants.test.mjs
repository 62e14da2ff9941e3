// The files next to docker-compose.yml: without telemetry, and with TLS at the edge; a password that was given, and one that is
// replaced; Redis' users after a change. Started by nothing but "up".
import assert from 'node:assert/strict';
import { setDefaultResultOrder } from 'node:dns';
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { certificates } from '../harness/certificates.mjs';
import { TRANSPORTS, Client } from '../harness/client.mjs';
import { Compose, docker } from '../harness/compose.mjs';
import { freePort } from '../harness/redis.mjs';
import { read } from '../harness/repository.mjs';
import { until } from '../harness/until.mjs';

// The edge is on 127.0.0.1 alone, and Node 18 tries one address of localhost.
setDefaultResultOrder('ipv4first');

const SERVICES = ['presence-state', 'reaper', 'gateway'];
const MINUTES = { timeout: 240_000 };
const FILES = ['docker-compose.yml', 'deploy/compose/without-telemetry.yml', 'deploy/compose/tls.yml'];

const PASSWORD = 'of our own, with $ and # and 100 %';

// What an operator writes: a password in place of deploy/secrets that no one else can read, and a Redis that reads its file as
// slowly as one that has a hundred times as much to read.
const folder = mkdtempSync(join(tmpdir(), 'rollcall-given-'));
writeFileSync(join(folder, 'redis_password'), `${PASSWORD}\n`, { mode: 0o400 });
const RULES = read('deploy/redis/users.acl');
const users = join(folder, 'users.acl');
writeFileSync(users, RULES);
// Not root, who may read its own files in any case. Only root may give files away.
if (process.getuid() === 0) for (const path of [folder, join(folder, 'redis_password')]) chownSync(path, 1000, 1000);
const OWN = join(folder, 'own.yml');
writeFileSync(OWN, `services:
  setup: {volumes: ["${folder}:/given:ro", "${users}:/users.acl:ro"]}
  redis: {command: [redis-server, /etc/redis/rollcall.conf, --maxmemory, 512mb, --key-load-delay, "30"]}
`);

let system;
let certificate;
let port;

before(async () => {
  certificate = certificates();
  port = String(await freePort());
  system = await Compose.named('variants', {
    COMPOSE_FILE: [...FILES, OWN].join(':'), TLS_CERTIFICATE: certificate.pem, TLS_PORT: port, TLS_BIND: '127.0.0.1',
  });
  try {
    await system.compose('up', '-d', '--no-build');
    await system.healthy('edge', 1);
  } catch (error) {
    const report = await system.report();
    await system.down();
    throw new Error(`the system did not start\n${report}`, { cause: error });
  }
}, MINUTES);

after(async () => {
  await system?.down();
  rmSync(folder, { recursive: true });
}, MINUTES);

test('without telemetry only the system itself runs, and exports nothing', MINUTES, async () => {
  const containers = await system.containers();
  const services = containers.map(({ Config }) => Config.Labels['com.docker.compose.service']).sort();
  assert.deepEqual(services, ['edge', 'gateway', 'presence-state', 'reaper', 'redis', 'setup']);
  assert.doesNotMatch(await system.compose('logs', '--no-color', 'gateway'), /telemetry cannot|OTLP/i);
});

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`a client speaks TLS by ${name}`, MINUTES, async () => {
    const client = await Client.connect(`https://localhost:${port}`, { transports, ca: readFileSync(certificate.ca) });
    try {
      await client.join('secret', `ann-${name}`);
      assert.equal((await client.patch({ n: 1 })).changed, true);
      assert.deepEqual(client.complaints(), []);
    } finally {
      client.close();
    }
  });
}

const redisIn = (id, password, ...words) => docker('exec', '-e', `REDISCLI_AUTH=${password}`, id, 'redis-cli', '--user', 'admin', ...words);

async function redisAs(password, ...words) {
  const [{ Id }] = await system.containers('redis');
  return redisIn(Id, password, ...words);
}

test('a given password is that of admin', MINUTES, async () => {
  const who = async (password) => (await redisAs(password, 'ACL', 'WHOAMI')).split('\n').pop();
  assert.equal(await who(PASSWORD), 'admin');
  assert.notEqual(await who('another'), 'admin');
});

test('every service waits for a Redis that has much to read', MINUTES, async (t) => {
  const [{ Id }] = await system.containers('redis');
  const redis = (...words) => redisIn(Id, PASSWORD, ...words);
  await redis('EVAL', "for i = 1, 60000 do redis.call('SET', 'filler:' .. i, i) end", '0');
  await system.compose('stop');
  const up = system.compose('up', '-d', '--no-build');
  let [loading, waiting] = [0, 0];
  await until('Redis to be healthy', async () => {
    const asked = Date.now();
    if ((await redis('PING').catch(() => '')).includes('LOADING')) loading += 1;
    if (await system.health(Id) === 'healthy') return true;
    waiting = asked;
    return false;
  }, { within: 60_000, every: 100 });
  await up;
  await system.healthy('edge', 1);
  assert.ok(loading > 5, `Redis was loading ${loading} times only`);
  for (const service of SERVICES) {
    const [{ State: { StartedAt } }] = await system.containers(service);
    assert.ok(new Date(StartedAt) >= waiting, `${service} was started before Redis was healthy`);
  }
  const [{ State }] = await system.containers('redis');
  t.diagnostic(`Redis was loading for at least ${waiting - new Date(State.StartedAt)} ms`);
  const client = await Client.connect(`https://localhost:${port}`, { transports: TRANSPORTS.websocket, ca: readFileSync(certificate.ca) });
  try {
    await client.join('after', 'ann');
  } finally {
    client.close();
  }
});

test('an upgrade gives Redis the rules that changed, and leaves it alone otherwise', MINUTES, async () => {
  const loads = async () => Number((await redisAs(PASSWORD, 'INFO', 'commandstats')).match(/cmdstat_acl\|load:calls=(\d+)/)?.[1] ?? 0);
  await system.script('deploy/upgrade.sh', ['reaper']);
  assert.equal(await loads(), 0);
  writeFileSync(users, RULES.replace('+smembers', '+smembers +zrandmember'));
  await system.script('deploy/upgrade.sh', ['reaper']);
  assert.equal(await loads(), 1);
  assert.match(await redisAs(PASSWORD, 'ACL', 'LIST'), /\+zrandmember/);
  await system.healthy('gateway', 1);
});

test('the password of a service is replaced', MINUTES, async () => {
  const hash = async () => (await redisAs(PASSWORD, 'ACL', 'LIST')).match(/user gateway on .*?(#\w+)/)[1];
  const before = await hash();
  // docs/operate/redis-acl.md
  await system.compose('run', '--rm', '--entrypoint', 'rm', 'setup', '/secrets/gateway/redis_password');
  await system.compose('run', '--rm', 'setup');
  await system.compose('restart', 'redis', 'gateway');
  await system.healthy('gateway', 1);
  assert.notEqual(await hash(), before);
});

test('an upgrade to what never gets ready changes nothing', MINUTES, async () => {
  // An image that is anything but a gateway.
  const broken = 'rollcall/presence-gateway:broken';
  await docker('tag', 'redis:7.4-bookworm', broken);
  try {
    const before = await system.ids('gateway');
    await assert.rejects(system.script('deploy/upgrade.sh', ['gateway'], { ROLLCALL_TAG: 'broken', READY_WITHIN: '6' }), /is removed; the old ones go on/);
    assert.deepEqual(await system.ids('gateway'), before);
    await system.healthy('gateway', 1);
  } finally {
    await docker('rmi', broken);
  }
});
