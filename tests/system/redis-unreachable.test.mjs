// What keeps a service from Redis is said in the words of Redis or the system, with what to do: in /readyz, and in the log once.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';

import { certificates } from '../harness/certificates.mjs';
import { freePort, Redis } from '../harness/redis.mjs';
import { Service, spawnService } from '../harness/service.mjs';
import { GATEWAY, REAPER, STATE } from '../harness/system.mjs';
import { Issuer } from '../harness/tokens.mjs';
import { sleep, until, withTimeout } from '../harness/until.mjs';

const KINDS = [GATEWAY, STATE, REAPER];
// Long enough for several tries of everything that tries again.
const TRIES_MS = 4000;

const PASSWORD = ['secret'];

async function started(t, options, credentials) {
  const redis = new Redis(false, await freePort(), options, credentials);
  await redis.restart();
  t.after(() => redis.kill());
  return redis;
}

// Redis as it was before version 7, as far as it is asked: its version, and no sharded channels.
async function old(t) {
  const redis = await started(t, { 'rename-command': ['SSUBSCRIBE', ''] });
  const server = createServer((client) => {
    const upstream = connect(redis.port, '127.0.0.1');
    client.pipe(upstream);
    const aged = (bytes) => Buffer.from(bytes.toString('latin1').replace(/redis_version:\d+/, 'redis_version:6'), 'latin1');
    upstream.on('data', (bytes) => client.write(aged(bytes)));
    [client, upstream].forEach((end) => end.on('error', () => {}).on('close', () => [client, upstream].forEach((one) => one.destroy())));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `redis://127.0.0.1:${server.address().port}`;
}

// What is no Redis: an HTTP server.
async function http(t) {
  const server = createHttpServer((_, response) => response.end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return server.address().port;
}

async function tls(t, { ca, crt, key } = certificates()) {
  const port = await freePort();
  await started(t, { 'tls-port': port, 'tls-cert-file': crt, 'tls-key-file': key, 'tls-ca-cert-file': ca, 'tls-auth-clients': 'no' });
  return { port, ca };
}

const withUser = async (t, rules) => {
  const redis = await started(t);
  await redis.command('ACL', 'SETUSER', 'svc', 'on', '>secret', ...rules);
  return { REDIS_URL: redis.url.replace('://', '://svc:secret@') };
};

// What is wrong; the environment of the services; what they say, and where.
const FAULTS = [
  ['a wrong password', async (t) => {
    const redis = await started(t, { requirepass: 'secret' }, PASSWORD);
    return { REDIS_URL: redis.url.replace('://', '://:hunter2@') };
  }, /WRONGPASS.*REDIS_PASSWORD_FILE/],
  ['no password', async (t) => ({ REDIS_URL: (await started(t, { requirepass: 'secret' }, PASSWORD)).url }), /NOAUTH.*REDIS_PASSWORD_FILE/],
  ['a port on which nothing listens', async () => ({ REDIS_URL: `redis://127.0.0.1:${await freePort()}` }),
    /Connection refused/],
  ['a host that does not exist', () => ({ REDIS_URL: 'redis://no-such-host.invalid:6379' }), /failed to lookup address/],
  ['TLS to a port without it', async (t) => {
    const { url } = await started(t);
    return { REDIS_URL: url.replace('redis:', 'rediss:'), SSL_CERT_FILE: certificates().ca };
  }, /does this port speak TLS\? .*write redis:/],
  ['no TLS to a port that needs it', async (t) => ({ REDIS_URL: `redis://127.0.0.1:${(await tls(t)).port}` }),
    /does this port speak TLS\? .*write rediss:/],
  ['a certificate of another authority', async (t) => {
    const { port } = await tls(t);
    return { REDIS_URL: `rediss://localhost:${port}`, SSL_CERT_FILE: certificates('another').ca };
  }, /no authority that this system trusts .*SSL_CERT_FILE/],
  ['a certificate of an authority', async (t) => {
    const { ca, caKey } = certificates();
    const { port } = await tls(t, { ca, crt: ca, key: caKey });
    return { REDIS_URL: `rediss://localhost:${port}`, SSL_CERT_FILE: ca };
  }, /is that of an authority, as a self-signed one often is/],
  ['an HTTP server', async (t) => ({ REDIS_URL: `redis://127.0.0.1:${await http(t)}` }),
    /does not speak Redis' protocol; check host and port of REDIS_URL/],
  ['an HTTP server by TLS', async (t) => ({ REDIS_URL: `rediss://127.0.0.1:${await http(t)}`, SSL_CERT_FILE: certificates().ca }),
    /does not speak TLS; .*write redis:/],
  ['a certificate of another name', async (t) => {
    const { port, ca } = await tls(t);
    return { REDIS_URL: `rediss://127.0.0.1:${port}`, SSL_CERT_FILE: ca };
  }, /for other names than the host in REDIS_URL/],
  ['a user without channels', (t) => withUser(t, ['~*', '+@all', 'resetchannels']), /NOPERM.*users\.acl/, 'bus'],
  ['a user without keys', (t) => withUser(t, ['resetkeys', '+@all', '&*']), /NOPERM.*users\.acl/],
  ['a Redis before version 7', async (t) => ({ REDIS_URL: await old(t) }),
    /Redis 6\.\S+ is too old: Redis or Valkey 7 or newer is needed/, 'bus'],
];

for (const [what, environment, said, part = 'redis'] of FAULTS) {
  test(`${what} is said as what it is, once`, async (t) => {
    const env = await environment(t);
    const services = await Promise.all(KINDS.map((kind) => Service.listening(kind, env)));
    t.after(() => Promise.all(services.map((service) => service.kill())));
    await Promise.all(services.map((service) => until(`${service.kind} to say why`, async () => {
      const shown = (await service.unready({ because: part })).checks[part];
      if (!said.test(shown)) throw new Error(shown);
      return true;
    }, { within: 10_000 })));
    await sleep(TRIES_MS);
    for (const { kind, child } of services) {
      const warnings = child.lines.map((line) => JSON.parse(line))
        .filter(({ level, message }) => level !== 'INFO' && !message.startsWith('authentication is off'));
      assert.equal(warnings.length, 1, `${kind}\n${child.report()}`);
      assert.match(JSON.stringify(warnings[0]), said);
      assert.ok(!child.lines.join('\n').includes('hunter2'));
    }
  });
}

test('a user who may not read what is revoked: the gateway says so, once', async (t) => {
  const issuer = new Issuer();
  t.after(() => issuer.close());
  const env = { ...await withUser(t, ['~*', '&*', '+@all', '-zcount']), ...issuer.env };
  const gateway = await Service.listening(GATEWAY, env);
  t.after(() => gateway.kill());
  const said = /revoked tokens cannot be read: .*can't run this command.*users\.acl/;
  await until('the reason to be shown', async () => {
    const shown = (await gateway.unready({ because: 'tokens' })).checks.tokens;
    if (!said.test(shown)) throw new Error(shown);
    return true;
  }, { within: 10_000 });
  await sleep(TRIES_MS);
  assert.equal(gateway.child.lines.filter((line) => line.includes('revoked tokens cannot be read')).length, 1);
});

test('a command for operators says it too', async (t) => {
  const redis = await started(t, { requirepass: 'secret' }, PASSWORD);
  for (const [url, said] of [
    [redis.url, /not connected to Redis: NOAUTH.*REDIS_PASSWORD_FILE/],
    [`redis://127.0.0.1:${await freePort()}`, /not connected to Redis: Connection refused/],
  ]) {
    const child = spawnService(GATEWAY, { REDIS_URL: url }, ['revoke', '--sub', 'ann']);
    assert.equal((await withTimeout('the exit', 8000, child.exited)).code, 1);
    assert.match(child.stderr, said);
  }
});

test('each change is said: a fault, its end, and the next one', async (t) => {
  const redis = await started(t, { requirepass: 'secret' }, PASSWORD);
  const service = await Service.listening(STATE, { REDIS_URL: redis.url });
  t.after(() => service.kill());
  const count = (text) => service.child.lines.filter((line) => line.includes(text)).length;
  await until('the first fault', () => count('NOAUTH') === 1);
  await redis.command('CONFIG', 'SET', 'requirepass', '');
  await service.ready();
  assert.equal(count('Redis answers again'), 1);
  await redis.command('CONFIG', 'SET', 'requirepass', 'secret');
  await redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await until('the next fault', () => count('NOAUTH') === 2);
});

test('a URL that cannot work, and certificates that cannot be read, are refused at the start', async () => {
  for (const kind of KINDS) {
    for (const [env, said] of [
      [{ REDIS_URL: 'redis://127.0.0.1:6379/1' },
        /REDIS_URL must name no database other than 0: databases share their channels.*REDIS_KEY_PREFIX/],
      [{ REDIS_URL: 'rediss://127.0.0.1:6379', SSL_CERT_FILE: '/no/such/file' },
        /REDIS_URL needs the certificates that this system trusts, .*\(\/no\/such\/file: No such file or directory\)/],
      [{ REDIS_URL: 'http://:secret@127.0.0.1:6379' }, /REDIS_URL has the scheme `http`, which is not one for Redis: .*rediss:\/\//],
      [{ REDIS_URL: 'redis://:sec/ret@127.0.0.1:6379' }, /REDIS_URL has a .* before its last @: .*%2F.*REDIS_PASSWORD_FILE/],
    ]) {
      const child = spawnService(kind, env);
      assert.deepEqual(await withTimeout('the exit', 5000, child.exited), { code: 1, signal: null }, kind);
      assert.match(child.stderr, said);
      assert.doesNotMatch(child.stderr, /sec\/?ret/);
    }
  }
});
