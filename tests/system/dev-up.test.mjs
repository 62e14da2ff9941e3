// `./dev up` as a newcomer meets it: one command, ready lines, and whatever ends it, no process is left behind.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Child } from '../harness/child.mjs';
import { Client } from '../harness/client.mjs';
import { until, withTimeout } from '../harness/until.mjs';

const DEV = fileURLToPath(new URL('../../dev', import.meta.url));
// It builds first, which takes a moment even when there is nothing to build.
const START_MS = 120_000;
const STOP_MS = 20_000;
// Of the tests' own environment it gets what a build needs, and no setting of a service.
const BUILD = /^(PATH|HOME|USER|TMPDIR|LANG|CARGO|RUST(?!_LOG))/;

// `detached` makes it the leader of a session, as a terminal would: whatever it starts can be found by that, and a
// signal to its process group is what Ctrl-C and a closed terminal send.
function devUp(args, settings) {
  const build = Object.entries(process.env).filter(([name]) => BUILD.test(name));
  const env = { ...Object.fromEntries(build), PORT: '0', ...settings };
  return new Child('./dev up', DEV, ['up', ...args], { detached: true, env });
}

// The processes of its session (where /proc can tell), and of those whose pids it has named.
function left(dev) {
  const named = dev.lines.flatMap((line) => line.match(/\(pid (\d+)\)/)?.[1] ?? []).map(Number);
  return [...new Set([...named.filter(isAlive), ...session(dev.pid)])];
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function session(leader) {
  if (!existsSync('/proc/self/stat')) return [];
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      const [state, , , sid] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop().split(' ');
      return Number(sid) === leader && state !== 'Z';
    } catch {
      return false; // ended while we looked
    }
  });
}

function nothingLeft(dev) {
  return until(`nothing to be left of ${dev.pid}`, () => left(dev).length === 0, { within: STOP_MS });
}

async function ready(dev) {
  await withTimeout('./dev up to be ready', START_MS, dev.line((line) => line.startsWith('  Stop:') || undefined));
  const lines = dev.lines.filter((line) => !line.startsWith('dev: '));
  const urls = lines.flatMap((line) => line.match(/^ready (http:\/\/127\.0\.0\.1:\d+)$/)?.[1] ?? []);
  return { urls, pid: (name) => Number(dev.lines.join('\n').match(`dev: ${name} is ready at .* \\(pid (\\d+)\\)`)[1]) };
}

const ended = (dev) => withTimeout('./dev up to end', STOP_MS, dev.exited);

function scenario(name, body) {
  test(name, async (t) => {
    const clients = [];
    let dev;
    const up = (args, env) => (dev = devUp(args, env));
    const connect = async (url) => {
      clients.push(await Client.connect(url));
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

scenario('two gateways and two states: all work, also without a killed state; SIGTERM', async ({ up, connect }) => {
  const dev = up(['--gateways', '2', '--states', '2']);
  const { urls, pid } = await ready(dev);
  assert.equal(urls.length, 2);
  for (const url of urls) assert.equal((await fetch(`${url}/readyz`)).status, 200);
  const greeting = dev.lines.filter((line) => /^(ready|  [A-Z])/.test(line)).map((line) => line.trim().split(' ')[0]);
  assert.deepEqual(greeting, ['ready', 'ready', 'Try', 'Look:', 'Stop:'], 'ready lines, then a hint of three lines');

  const [ann, ben] = [await connect(urls[0]), await connect(urls[1])];
  await ann.join('hall', 'ann');
  await ben.join('hall', 'ben');
  await ann.sees(['ann', 'ben']);

  const death = dev.line((line) => line.match(/^dev: state-2 has died.*/)?.[0]);
  process.kill(pid('state-2'), 'SIGKILL');
  assert.match(await withTimeout('the death to be told', STOP_MS, death), /1 of its kind left/);
  assert.equal((await ann.patch({ n: 1 })).changed, true);
  await ben.hears({ type: 'update' });

  assert.equal(dev.exit, null);
  dev.signal('SIGTERM');
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
  assert.match(dev.stderr, /^dev: (state|reaper|gateway)-1 ended at its start; its own words are above\n$/m);
  await nothingLeft(dev);
});
