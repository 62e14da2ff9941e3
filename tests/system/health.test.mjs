// The operator's side: health, readiness that says which part is missing, version, CORS, configuration, signals.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test as plainTest } from 'node:test';

import { Redis } from '../harness/redis.mjs';
import { scenario, sharedSystem } from '../harness/scenario.mjs';
import { Service, spawnService } from '../harness/service.mjs';
import { GATEWAY, REAPER, STATE } from '../harness/system.mjs';
import { sleep, until, withTimeout } from '../harness/until.mjs';

const KINDS = [GATEWAY, STATE, REAPER];
const shared = sharedSystem({ states: 2 });

shared('every service tells its health, readiness and version', async ({ system }) => {
  const instances = new Set();
  for (const service of system.services) {
    const health = await service.get('/healthz');
    assert.deepEqual([health.status, health.body], [200, { status: 'ok' }]);
    const { status, body } = await service.get('/readyz');
    assert.equal(status, 200);
    assert.equal(body.ready, true);
    assert.ok(Object.keys(body.checks).includes('redis'));
    assert.deepEqual([...new Set(Object.values(body.checks))], ['ok']);
    const version = (await service.get('/version')).body;
    assert.equal(version.service, service.kind);
    assert.match(version.version, /^\d+\.\d+\.\d+/);
    assert.match(version.commit, /^(unknown|[0-9a-f]{7,40})$/);
    assert.ok(version.instance.startsWith(service.kind), version.instance);
    instances.add(version.instance);
  }
  assert.equal(instances.size, system.services.length, 'two instances have one name');
});

shared('any page may talk to the gateway, as it comes', async ({ system }) => {
  const { headers, status } = await system.gateways[0].get('/socket.io/?EIO=4&transport=polling', { headers: { origin: 'https://app.example' } });
  assert.equal(status, 200);
  assert.ok(['*', 'https://app.example'].includes(headers.get('access-control-allow-origin')), headers.get('access-control-allow-origin'));
});

shared('what does not exist is 404', async ({ system }) => {
  for (const service of system.services) assert.equal((await service.get('/nothing')).status, 404);
});

scenario('CORS can be narrowed', { env: { CORS_ORIGINS: 'https://app.example,https://other.example' } }, async ({ system }) => {
  const allowed = async (origin) => {
    const { headers } = await system.gateways[0].get('/socket.io/?EIO=4&transport=polling', { headers: { origin } });
    return [headers.get('access-control-allow-origin'), headers.get('access-control-allow-credentials')];
  };
  // With cookies, by which an edge keeps a client on its gateway.
  assert.deepEqual(await allowed('https://other.example'), ['https://other.example', 'true']);
  assert.equal((await allowed('https://evil.example'))[0], null);
});

for (const kind of KINDS) {
  plainTest(`${kind} --health tells whether the one that runs is ready, and why not`, async () => {
    const redis = await Redis.start();
    const state = await Service.listening(STATE, { REDIS_URL: redis.url });
    const service = await Service.listening(kind, { REDIS_URL: redis.url });
    const port = new URL(service.url).port;
    const ask = async (env = { PORT: port, ADMIN_PORT: port }) => {
      const child = spawnService(kind, env, ['--health']);
      return { ...await withTimeout('--health to end', 5000, child.exited), output: [...child.lines].join('\n') };
    };
    try {
      await service.ready();
      const well = await ask();
      assert.equal(well.code, 0);
      assert.match(well.output, /"ready":true/);
      await redis.kill();
      await service.unready({ because: 'redis' });
      const ill = await ask({ PORT: port, ADMIN_PORT: port, HOST: '0.0.0.0' });
      assert.equal(ill.code, 1);
      assert.match(ill.output, /"ready":false/);
      await service.kill();
      assert.equal((await ask()).code, 1);
      const lost = await ask({ PORT: '0', ADMIN_PORT: '0' });
      assert.equal(lost.code, 1);
      assert.match(lost.output, /PORT must be from 1/);
    } finally {
      await Promise.all([service.kill(), state.kill(), redis.kill()]);
    }
  });
}

const BAD = { REDIS_URL: 'no-url', HOST: 'no host', PORT: 'abc', ADMIN_PORT: '70000', PRESENCE_TTL_MS: '10', LOG_FORMAT: 'loud', REDIS_PASSWORD_FILE: '/no/such/file', TRUSTED_PROXIES: 'edge', CORS_ORIGINS: 'https://app.example/', MAX_SESSIONS: '0', ADDRESS_HANDSHAKES_PER_S: 'many' };
const NAMED = {
  [GATEWAY]: ['TRUSTED_PROXIES', 'CORS_ORIGINS', 'MAX_SESSIONS', 'ADDRESS_HANDSHAKES_PER_S', 'REDIS_PASSWORD_FILE', 'REDIS_URL', 'HOST', 'PORT', 'PRESENCE_TTL_MS', 'LOG_FORMAT'],
  [STATE]: ['REDIS_PASSWORD_FILE', 'REDIS_URL', 'HOST', 'ADMIN_PORT', 'LOG_FORMAT'],
  [REAPER]: ['REDIS_PASSWORD_FILE', 'REDIS_URL', 'HOST', 'ADMIN_PORT', 'LOG_FORMAT'],
};

for (const kind of KINDS) {
  plainTest(`${kind} names every problem of its configuration and exits with 1`, async () => {
    const child = spawnService(kind, BAD);
    try {
      assert.deepEqual(await withTimeout('the exit', 5000, child.exited), { code: 1, signal: null });
      for (const name of NAMED[kind]) assert.match(child.stderr, new RegExp(`\\b${name}\\b`));
    } finally {
      await child.kill();
    }
  });

  plainTest(`${kind} names every key of its file that no service has, and takes those of other services`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rollcall-config-'));
    const file = join(folder, 'rollcall.toml');
    await writeFile(file, 'redis_ulr = "redis://:secret@h"\nport = 0\nadmin_port = 0\ncolour = 1\nmax_sessions = 9\n[gateway]\nport = 1\n');
    const child = spawnService(kind, { ROLLCALL_CONFIG: file, LOG_FORMAT: 'loud' });
    try {
      assert.deepEqual(await withTimeout('the exit', 5000, child.exited), { code: 1, signal: null });
      for (const sentence of ['4 problem', '`redis_ulr`; did you mean redis_url?', '`colour`', '`gateway`', 'LOG_FORMAT must be']) {
        assert.ok(child.stderr.includes(sentence), `${sentence}: ${child.stderr}`);
      }
      assert.doesNotMatch(child.stderr, /secret|max_sessions/);
    } finally {
      await child.kill();
      await rm(folder, { recursive: true });
    }
  });

  plainTest(`${kind} without Redis lives unready, and is ready once Redis is there`, async () => {
    const redis = await Redis.start();
    await redis.kill();
    const service = await Service.listening(kind, { REDIS_URL: redis.url });
    let state;
    try {
      await service.unready({ because: 'redis' });
      assert.equal((await service.get('/healthz')).status, 200);
      await redis.restart();
      state = await Service.listening(STATE, { REDIS_URL: redis.url });
      await service.ready();
    } finally {
      await Promise.all([service.kill(), state?.kill(), redis.kill()]);
    }
  });
}

scenario('a service with a stale subscription turns unready by itself, and recovers', {}, async ({ system, room }) => {
  const ann = await system.connect();
  await ann.join(room, 'ann');
  // Redis answers as always, but no channel is open to anyone.
  await system.redis.command('ACL', 'SETUSER', 'default', 'resetchannels');
  await system.redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
  for (const service of system.services) {
    await until('the reason to be shown', async () => /NOPERM/.test((await service.unready({ because: 'bus' })).checks.bus));
  }
  await sleep(2000);
  for (const service of system.services) {
    const lines = service.child.lines.filter((line) => line.includes('resubscribing failed'));
    assert.equal(lines.length, 1, `once per cause, and not with each try\n${lines.join('\n')}`);
  }
  await system.redis.command('ACL', 'SETUSER', 'default', 'allchannels');
  for (const service of system.services) await service.ready();
  await until('ann to be answered', async () => (await ann.ask('presence:heartbeat', { patchState: { n: 1 } })).ok);
});
