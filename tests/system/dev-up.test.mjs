// `./dev up` for a newcomer: one command, ready lines, and no process left behind, whatever ends it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { Client } from '../harness/client.mjs';
import { DEV, START_MS, STOP_MS, devUp, ended, nothingLeft, ready } from '../harness/dev-up.mjs';
import { until, withTimeout } from '../harness/until.mjs';

function scenario(name, body) {
  test(name, async (t) => {
    const clients = [];
    let dev;
    const up = (args, env) => (dev = devUp(args, env));
    const connect = async (url, options) => {
      clients.push(await Client.connect(url, options));
      return clients.at(-1);
    };
    try {
      await body({ up, connect });
    } catch (error) {
      if (dev) t.diagnostic(dev.report());
      throw error;
    } finally {
      clients.forEach((client) => client.close());
      if (dev && !dev.exit) {
        dev.signal('SIGTERM');
        await ended(dev);
      }
    }
  });
}

scenario('two gateways and two states: all work, even after a state was killed; SIGTERM', async ({ up, connect }) => {
  const dev = up(['--gateways', '2', '--states', '2']);
  const { urls, pid } = await ready(dev);
  assert.equal(urls.length, 2);
  for (const url of urls) assert.equal((await fetch(`${url}/readyz`)).status, 200);
  const greeting = dev.lines.filter((line) => /^(ready|  [A-Z])/.test(line)).map((line) => line.trim().split(' ')[0]);
  // The page is named only where there is one.
  const page = (await fetch(`${urls[0]}/`)).status === 200 ? ['Page:'] : [];
  assert.deepEqual(greeting, ['ready', 'ready', ...page, 'Auth:', 'Try', 'Look:', 'Stop:'], 'ready lines, then a hint');

  const [ann, ben] = [await connect(urls[0]), await connect(urls[1])];
  await ann.join('hall', 'ann');
  await ben.join('hall', 'ben');
  await ann.sees(['ann', 'ben']);

  const death = dev.line((line) => line.match(/^dev: state-2 has died.*/)?.[0]);
  process.kill(pid('state-2'), 'SIGKILL');
  assert.match(await withTimeout('the death to be reported', STOP_MS, death), /1 of its kind left/);
  assert.equal((await ann.patch({ n: 1 })).changed, true);
  await ben.receives({ type: 'update' });

  assert.equal(dev.exit, null);
  dev.signal('SIGTERM');
  assert.deepEqual(await ended(dev), { code: 0, signal: null });
  await nothingLeft(dev);
});

scenario('with --auth clients need a token: the printed one, or one of ./dev token, which can be revoked', async ({ up, connect }) => {
  // Settings for other tokens.
  const dev = up(['--auth'], { JWT_ISSUER: 'elsewhere', JWT_AUDIENCE: 'others', JWT_MAX_AGE_S: '60' });
  await ready(dev);
  const client = dev.lines.find((line) => line.startsWith('  Client:'));
  const [, url, token] = client.match(/io\('([^']+)', \{ auth: \{ token: '([^']+)' \} \}\)$/);
  const ann = await connect(url, { auth: { token } });
  await ann.join('doc:1', 'ann');
  const options = ['token', '--sub', 'ben', '--room', 'doc:*=join', '--info', '{"name":"Ben"}', '--ttl', '60'];
  const { stdout } = await promisify(execFile)(DEV, options);
  const ben = await connect(url, { auth: { token: stdout.trim() } });
  await ben.join('doc:1', 'ben');
  assert.deepEqual((await ann.receives({ type: 'join', userId: 'ben' })).info, { name: 'Ben' });
  await assert.rejects(connect(url), /UNAUTHENTICATED/);
  await assert.rejects(promisify(execFile)(DEV, ['token', '--sub', 'ben', '--room', 'doc']), (error) => {
    assert.equal(error.code, 2);
    return /--room must be like/.test(error.stderr);
  });
  const revoke = () => promisify(execFile)(DEV, ['token', 'revoke', '--sub', 'ben'], { env: { ...process.env, PORT: new URL(url).port } });
  await revoke();
  await until('the sockets of ben to be closed', () => ben.disconnects.length > 0);
  dev.signal('SIGTERM');
  assert.deepEqual(await ended(dev), { code: 0, signal: null });
  await nothingLeft(dev);
  await assert.rejects(revoke(), /there is no \.\/dev up on port/);
});

scenario('with --crowd there are people who come, type, count and take the lock; Ctrl-C stops them with the rest', async ({ up, connect }) => {
  const dev = up(['--crowd', '14', '--gateways', '2']);
  const { urls } = await ready(dev);
  const ann = await connect(urls[0]);
  await ann.join('lobby', 'newcomer');
  const within = { within: 60_000, every: 200 };
  await ann.receives({ type: 'join' }, 30_000);
  await until('someone to type', () => ann.events.some(({ type, state }) => type === 'update' && state.typing === true), within);
  await until('someone to count', () => ann.changes.some(({ items }) => items.some(({ key, value }) => key === 'counter' && value > 0)), within);
  await until('the lock to be taken and released', () => ['acquired', 'released'].every((type) => ann.locks.some((event) => event.type === type)), within);
  assert.deepEqual(ann.complaints(), []);
  assert.match(dev.lines.join('\n'), /^crowd-1 +\| crowd: 14 people come and go at 127\.0\.0\.1:\d+, 127\.0\.0\.1:\d+$/m);
  assert.doesNotMatch(dev.lines.join('\n'), /visits failed/);

  const death = dev.line((line) => line.match(/^dev: crowd-1 has died.*/)?.[0]);
  const [, pid] = dev.stderr.match(/^dev: crowd-1 is 14 people who come and go \(pid (\d+)\)$/m);
  process.kill(Number(pid), 'SIGKILL');
  assert.match(await withTimeout('the death to be reported', STOP_MS, death), /the others go on$/);
  assert.equal((await ann.patch({ n: 1 })).changed, true);
  process.kill(-dev.pid, 'SIGINT');
  assert.deepEqual(await ended(dev), { code: 0, signal: null });
  await nothingLeft(dev);
});

scenario('Ctrl-C, which reaches the whole process group; logs as JSON', async ({ up }) => {
  const dev = up([], { LOG_FORMAT: 'json', RUST_LOG: 'info' });
  const { urls } = await ready(dev);
  assert.equal(urls.length, 1);
  const logs = dev.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  const speakers = [...new Set(logs.map(({ service }) => service))].sort();
  assert.deepEqual(speakers, ['presence-gateway', 'presence-reaper', 'presence-state']);
  process.kill(-dev.pid, 'SIGINT');
  assert.deepEqual(await ended(dev), { code: 0, signal: null });
  await nothingLeft(dev);
});

scenario('the terminal closes', async ({ up }) => {
  const dev = up([]);
  await ready(dev);
  dev.process.stdout.destroy();
  dev.process.stderr.destroy();
  process.kill(-dev.pid, 'SIGHUP');
  await nothingLeft(dev);
});

scenario('kill -9 of the script itself', async ({ up }) => {
  const dev = up([]);
  await ready(dev);
  dev.signal('SIGKILL');
  await nothingLeft(dev);
});

scenario('a HOST that is a name: one sentence, before anything is built', async ({ up }) => {
  const dev = up([], { HOST: 'localhost' });
  assert.deepEqual(await ended(dev), { code: 1, signal: null });
  assert.match(dev.stderr, /^dev: HOST must be an IP address, [^\n]*\n$/);
  await nothingLeft(dev);
});

scenario('a port in use: one sentence, at once', async ({ up }) => {
  const stranger = createServer().listen(0, '127.0.0.1');
  await until('the stranger to listen', () => stranger.listening);
  try {
    const { port } = stranger.address();
    const dev = up([], { PORT: String(port) });
    assert.deepEqual(await ended(dev), { code: 1, signal: null });
    assert.match(dev.stderr, new RegExp(`^dev: port ${port} is in use; [^\n]*\n$`));
    await nothingLeft(dev);
  } finally {
    stranger.close();
  }
});

scenario('a service that dies at its start: one sentence, nothing left running', async ({ up }) => {
  const dev = up([], { PRESENCE_TTL_MS: 'soon' });
  assert.deepEqual(await withTimeout('./dev up to give up', START_MS, dev.exited), { code: 1, signal: null });
  assert.match(dev.lines.join('\n'), /PRESENCE_TTL_MS/i, 'the service says why');
  assert.match(dev.stderr, /^dev: (state|reaper|gateway)-1 ended at its start; its log is above\n$/m);
  await nothingLeft(dev);
});
