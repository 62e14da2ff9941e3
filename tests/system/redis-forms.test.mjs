// Other forms of Redis: with a password from a file, over TLS, behind Sentinel. What works with one Redis works there.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { certificates } from '../harness/certificates.mjs';
import { Child, temporaryFolder } from '../harness/child.mjs';
import { freePort } from '../harness/redis.mjs';
import { Sentinel } from '../harness/sentinel.mjs';
import { System } from '../harness/system.mjs';
import { until } from '../harness/until.mjs';

const PASSWORD = 's3cret/:@%';

const options = (settings) => Object.entries(settings).flatMap(([name, value]) => [`--${name}`, ...[value].flat().map(String)]);

class Server {
  constructor(t, name, settings, args = []) {
    this.folder = temporaryFolder('redis');
    this.child = new Child(name, 'redis-server', [...args, ...options({ bind: '127.0.0.1', dir: this.folder, save: '', ...settings })]);
    t.after(() => this.child.kill());
  }
}

const cli = (port, ...args) => execFileSync('redis-cli', ['-p', port, '-a', PASSWORD, '--no-auth-warning', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
// Its errors while it does not listen yet do not matter.
const answers = (port) => until(`${port} to answer`, () => cli(port, 'PING') === 'PONG', { every: 100 });

async function works(t, url, env, servers, then = () => {}) {
  const system = new System({ url, child: servers[0].child, kill: () => Promise.all(servers.map(({ child }) => child.kill())) }, env);
  try {
    await system.addState();
    await Promise.all([system.addReaper(), system.addGateway()]);
    const [ann, bob] = await system.connectMany(2);
    await ann.join('room', 'ann');
    await bob.join('room', 'bob');
    await ann.receives({ type: 'join', userId: 'bob' });
    assert.equal((await bob.patch({ n: 1 })).changed, true);
    await ann.receives({ type: 'update', userId: 'bob' });
    await ann.metadata('setChannel', 'room', 'T', [{ key: 'k', value: 1 }]);
    const { fence } = await ann.lock('acquire', 'room', 'turn');
    assert.equal((await ann.lock('release', 'room', 'turn', { fence })).ok, true);
    await then(system, ann);
    for (const { lines } of system.services.map(({ child }) => child)) {
      assert.ok(!lines.join('\n').includes(PASSWORD), 'the password is in the log');
    }
  } catch (error) {
    t.diagnostic(system.report());
    throw error;
  } finally {
    await system.close();
  }
}

function secret() {
  const file = join(temporaryFolder('secret'), 'password');
  writeFileSync(file, `${PASSWORD}\n`);
  return file;
}

test('a password comes from a file', async (t) => {
  const port = await freePort();
  const server = new Server(t, 'redis', { port, requirepass: PASSWORD });
  await answers(port);
  await works(t, `redis://127.0.0.1:${port}`, { REDIS_PASSWORD_FILE: secret() }, [server]);
});

test('rediss:// speaks TLS with servers that the certificates of SSL_CERT_FILE vouch for', async (t) => {
  const { ca, crt, key } = certificates();
  const port = await freePort();
  const server = new Server(t, 'redis', {
    port: 0, 'tls-port': port, 'tls-cert-file': crt, 'tls-key-file': key, 'tls-ca-cert-file': ca, 'tls-auth-clients': 'no', requirepass: PASSWORD,
  });
  await works(t, `rediss://localhost:${port}`, { REDIS_PASSWORD_FILE: secret(), SSL_CERT_FILE: ca }, [server]);
});

test('behind Sentinel the services follow the master', async (t) => {
  const [first, second] = [await freePort(), await freePort()];
  const auth = { requirepass: PASSWORD, masterauth: PASSWORD, 'repl-diskless-sync-delay': 0 };
  const servers = [new Server(t, 'master', { port: first, ...auth }), new Server(t, 'replica', { port: second, replicaof: ['127.0.0.1', first], ...auth })];
  await answers(first);
  await until('the replica to follow', () => cli(second, 'INFO', 'replication').includes('master_link_status:up'), { within: 15_000, every: 100 });
  const sentinel = await Sentinel.start({ primary: first, replica: second, lines: (name) => [`sentinel auth-pass ${name} ${PASSWORD}`] });
  t.after(() => sentinel.kill());
  await works(t, sentinel.url, { REDIS_PASSWORD_FILE: secret() }, [...servers, sentinel], async (system, ann) => {
    // Replication is asynchronous; nothing else waits for it.
    assert.equal(cli(first, 'WAIT', 1, 5000), '1');
    await servers[0].child.kill();
    await sentinel.names(second);
    await Promise.all(system.services.map((service) => service.ready(20_000)));
    const channel = await ann.metadata('getChannel', 'room', 'T');
    assert.equal(channel.metadata.k.value, 1);
    assert.equal((await ann.patch({ after: true })).changed, true);
    await ann.sees(['ann', 'bob']);
  });
});
