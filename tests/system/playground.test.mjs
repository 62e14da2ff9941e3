// What the gateway serves to browsers: the official client, always, and the page at / where it is on. Directly and through the edge.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { WebSocket } from 'ws';

import { Edge, missing } from '../harness/edge.mjs';
import { gatewayAlone } from '../harness/gateway-alone.mjs';
import { RawConnection } from '../harness/raw-http.mjs';
import { scenario } from '../harness/scenario.mjs';
import { spawnService } from '../harness/service.mjs';
import { GATEWAY } from '../harness/system.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const read = (path) => readFileSync(new URL(path, import.meta.url));
const PACKAGE = '../node_modules/socket.io-client';
const ASSETS = '../../services/gateway/assets';
const BUNDLES = ['/socket.io/socket.io.js', '/socket.io/socket.io.min.js'];
const POLLING = '/socket.io/?EIO=4&transport=polling';
const ON = { PLAYGROUND: 'on' };

test('the client that is checked in is the npm package that the tests use, with its license', () => {
  assert.ok(read(`${ASSETS}/socket.io.min.js`).equals(read(`${PACKAGE}/dist/socket.io.min.js`)), 'see services/gateway/assets/README.md');
  assert.ok(read(`${ASSETS}/socket.io.LICENSE`).equals(read(`${PACKAGE}/LICENSE`)));
});

gatewayAlone('the client is served by both of its names, even without the page, and works', {}, async (service) => {
  const { version } = JSON.parse(read(`${PACKAGE}/package.json`));
  for (const path of BUNDLES) {
    const { status, headers, body } = await service.get(path);
    assert.equal(status, 200);
    assert.ok(Buffer.from(body).equals(read(`${PACKAGE}/dist/socket.io.min.js`)));
    assert.match(body, new RegExp(`^/\\*!\\n \\* Socket\\.IO v${version.replaceAll('.', '\\.')}\\n[^/]*MIT License`));
    assert.equal(headers.get('content-type'), 'text/javascript; charset=utf-8');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');
  }
  const { body } = await service.get(BUNDLES[0]);
  // A browser as far as it needs one, with a WebSocket of this process.
  const page = createContext({ setTimeout, clearTimeout, WebSocket, location: new URL(service.url), console });
  page.self = page;
  runInContext(body, page);
  const socket = page.io({ transports: ['websocket'], forceNew: true });
  try {
    await withTimeout('the client to connect', 10_000, new Promise((resolve, reject) => {
      socket.on('connect', resolve).on('connect_error', reject);
    }));
  } finally {
    socket.close();
  }
});

gatewayAlone('HEAD has the headers of GET and no body; what a browser has already is not sent again', ON, async (service) => {
  for (const path of ['/', '/playground/main.js', ...BUNDLES]) {
    const { headers, body } = await service.get(path);
    const asked = await RawConnection.ask(service, { method: 'HEAD', path });
    assert.deepEqual([asked.status, asked.body], [200, ''], path);
    for (const name of ['content-type', 'etag', 'cache-control']) assert.equal(asked.headers[name], headers.get(name), name);
    assert.equal(Number(asked.headers['content-length']), Buffer.byteLength(body));
    assert.equal(headers.get('cache-control'), 'no-cache');

    const again = await RawConnection.ask(service, { path, headers: { 'if-none-match': headers.get('etag') } });
    assert.deepEqual([again.status, again.body, again.headers.etag], [304, '', headers.get('etag')]);
    const other = await RawConnection.ask(service, { path, headers: { 'if-none-match': '"other"' } });
    assert.equal(other.status, 200);
    const posted = await RawConnection.ask(service, { method: 'POST', path, headers: { 'content-length': 0 } });
    assert.deepEqual([posted.status, posted.headers.allow], [405, 'GET, HEAD']);
  }
});

const ONE = { MAX_SESSIONS: '1', ADDRESS_HANDSHAKES_PER_S: '1' };

gatewayAlone('asking for the client begins no session, and is no handshake', ONE, async (service) => {
  const begin = `${BUNDLES[0]}?EIO=4&transport=polling`;
  for (let n = 0; n < 30; n += 1) {
    const { status, headers } = await service.get(begin);
    assert.deepEqual([status, headers.get('x-engine-sid')], [200, null]);
  }
  const refused = new WebSocket(`${service.url.replace('http', 'ws')}${BUNDLES[0]}?EIO=4&transport=websocket`);
  await withTimeout('the refusal', 5000, once(refused, 'error'));
  // All of its only session, and of the ten handshakes that it may make at once, is there.
  assert.equal((await service.get(POLLING)).status, 200);
  assert.equal((await service.get(POLLING)).status, 503);
  assert.equal((await service.get(begin)).status, 200);
});

const NAMED = { CORS_ORIGINS: 'https://a.example' };

gatewayAlone('pages of origins that are not named are refused it, as everything of Socket.IO', NAMED, async (service) => {
  const from = async (origin) => (await service.get(BUNDLES[0], { headers: { origin } })).status;
  assert.deepEqual([await from('https://a.example'), await from('https://b.example')], [200, 403]);
});

gatewayAlone('where the page is off, / says what this is', {}, async (service) => {
  const { status, headers, body } = await service.get('/');
  assert.deepEqual([status, headers.get('content-type')], [404, 'text/plain; charset=utf-8']);
  assert.match(body, /^This is a Rollcall gateway, for Socket\.IO clients\./);
  assert.equal((await service.get('/playground/main.js')).status, 404);
});

const WITH_TRACES = { ...ON, PLAYGROUND_TRACES: 'http://127.0.0.1:16686/' };

gatewayAlone('where it is on, it is a page that may load and reach only this gateway', WITH_TRACES, async (service) => {
  const { status, headers, body } = await service.get('/');
  assert.deepEqual([status, headers.get('content-type')], [200, 'text/html; charset=utf-8']);
  const rules = headers.get('content-security-policy').split('; ').map((rule) => rule.match(/(\S+) (.*)/).slice(1));
  assert.deepEqual(Object.fromEntries(rules), {
    'default-src': "'none'", 'script-src': "'self'", 'style-src': "'self'", 'connect-src': "'self'", 'img-src': 'data:',
    'base-uri': "'none'", 'form-action': "'none'", 'frame-ancestors': "'none'", 'require-trusted-types-for': "'script'",
  });
  assert.equal(headers.get('referrer-policy'), 'no-referrer');
  assert.match(body, / data-auth="off" data-beat-ms="0" data-traces="http:\/\/127\.0\.0\.1:16686" data-path="\/socket\.io"/);
  const loaded = [...body.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path]) => path);
  assert.equal(loaded.length, 3);
  for (const path of loaded) assert.equal((await service.get(path)).status, 200, path);
});

test('settings of the page that make no sense are refused by their names', { timeout: 20_000 }, async () => {
  const child = spawnService(GATEWAY, { PLAYGROUND: 'yes', PLAYGROUND_TRACES: 'jaeger:16686' });
  await withTimeout('the gateway to refuse to start', 10_000, child.exited);
  await until('both problems', () => /PLAYGROUND must be on or off/.test(child.report())
    && /PLAYGROUND_TRACES must be where Jaeger's pages are/.test(child.report()));
});

for (const [state, env, expected] of [['off', {}, 404], ['on', ON, 200]]) {
  const name = `the edge passes the page where it is ${state}, and the client always, and counts neither as a handshake`;
  scenario(name, { skip: missing, env: { ...ON, TRUSTED_PROXIES: '127.0.0.0/8' } }, async ({ system }) => {
    const edge = await Edge.start(system.gateways, { env: { ...env, ADDRESS_HANDSHAKES_PER_S: '1' } });
    try {
      for (const path of ['/', '/playground/main.js', '/playground/style.css']) assert.equal((await edge.get(path)).status, expected, path);
      for (let n = 0; n < 30; n += 1) assert.equal((await edge.get(BUNDLES[0])).status, 200);
      for (const path of ['/version', '/healthz', '/playground', '/x']) assert.equal((await edge.get(path)).status, 404, path);
      assert.equal((await edge.get(POLLING)).status, 200);
    } finally {
      await edge.close();
    }
  });
}
