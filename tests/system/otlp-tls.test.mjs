// Export over TLS, and settings of the exporter that it cannot do.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { certificates } from '../harness/certificates.mjs';
import { OtlpReceiver } from '../harness/otlp.mjs';
import { Service, spawnService } from '../harness/service.mjs';
import { GATEWAY, REAPER, STATE, System } from '../harness/system.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const { ca, crt, key } = certificates();
const tls = { cert: readFileSync(crt), key: readFileSync(key) };
const UNREACHABLE = { REDIS_URL: 'redis://127.0.0.1:1' };

// The system's roots are those of SSL_CERT_FILE, where it is set.
for (const trust of [{ SSL_CERT_FILE: ca }, { OTEL_EXPORTER_OTLP_CERTIFICATE: ca }]) {
  test(`metrics and logs go over TLS to a collector that ${Object.keys(trust)} vouches for`, async (t) => {
    const otlp = await OtlpReceiver.start({ tls });
    t.after(() => otlp.close());
    const env = { ...UNREACHABLE, ...otlp.env, ...trust };
    const services = await Promise.all([GATEWAY, STATE, REAPER].map((kind) => Service.listening(kind, env)));
    t.after(() => Promise.all(services.map((service) => service.kill())));
    for (const { kind } of services) {
      await otlp.line(`of ${kind}`, ({ service, message }) => service === kind && message === 'listening');
      await until(`metrics of ${kind}`, () => [...otlp.metrics.keys()].some((name) => name.startsWith(kind)));
    }
  });
}

test('a trace goes over TLS', async (t) => {
  const otlp = await OtlpReceiver.start({ tls });
  t.after(() => otlp.close());
  const system = await System.start({ env: { ...otlp.env, OTEL_EXPORTER_OTLP_CERTIFICATE: ca } });
  t.after(() => system.close());
  const ann = await system.connect();
  await ann.join('room', 'ann');
  await otlp.span('of the join', ({ name }) => name === 'socket presence:join');
});

test('why nothing is exported is logged once for each signal', async (t) => {
  const otlp = await OtlpReceiver.start({ tls });
  t.after(() => otlp.close());
  const service = await Service.listening(GATEWAY, { ...UNREACHABLE, ...otlp.env, SSL_CERT_FILE: certificates('another').ca });
  t.after(() => service.kill());
  const lines = () => service.child.lines.map((line) => JSON.parse(line));
  const failed = () => lines().filter(({ message }) => message.startsWith('OTLP export failed'));
  await until('logs and metrics to fail', () => new Set(failed().map(({ signal }) => signal)).size === 2, { within: 30_000 });
  for (const line of failed()) assert.match(line.reason, /UnknownIssuer/, JSON.stringify(line));
  assert.equal(failed().length, 2);
});

test('what the exporter cannot do is refused at the start', async () => {
  for (const kind of [GATEWAY, STATE, REAPER]) {
    const child = spawnService(kind, {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector:4317', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_EXPORTER_OTLP_LOGS_PROTOCOL: 'http/json', OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'collector:4317',
      OTEL_EXPORTER_OTLP_CERTIFICATE: '/no/such/file',
    });
    assert.deepEqual(await withTimeout('the exit', 5000, child.exited), { code: 1, signal: null });
    assert.match(child.stderr, /4 problem/);
    assert.match(child.stderr, /OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but only http\/protobuf is supported; .* on port 4318/);
    assert.match(child.stderr, /OTEL_EXPORTER_OTLP_LOGS_PROTOCOL is http\/json/);
    assert.match(child.stderr, /OTEL_EXPORTER_OTLP_METRICS_ENDPOINT must be the collector's URL/);
    assert.match(child.stderr, /OTEL_EXPORTER_OTLP_CERTIFICATE names \/no\/such\/file/);
  }
});
