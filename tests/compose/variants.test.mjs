// The files beside docker-compose.yml: without telemetry, and with TLS at the edge. Started by nothing but "up".
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { certificates } from '../harness/certificates.mjs';
import { TRANSPORTS, Client } from '../harness/client.mjs';
import { Compose, docker } from '../harness/compose.mjs';
import { freePort } from '../harness/redis.mjs';

const MINUTES = { timeout: 240_000 };
const FILES = ['docker-compose.yml', 'deploy/compose/without-telemetry.yml', 'deploy/compose/tls.yml'];

let system;
let certificate;
let port;

before(async () => {
  certificate = certificates();
  port = String(await freePort());
  system = await Compose.named('variants', {
    COMPOSE_FILE: FILES.join(':'), TLS_CERTIFICATE: certificate.pem, TLS_PORT: port, TLS_BIND: '127.0.0.1',
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

after(() => system?.down(), MINUTES);

test('without telemetry only the system itself runs, and sends nothing', MINUTES, async () => {
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
