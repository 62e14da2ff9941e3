// What ./dev does on a machine that lacks something: it takes what is there, asks for the rest in one sentence, and installs packages
// only where it was told to, or where no one can be asked. Package managers and Docker are stand-ins here.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

import { Client } from '../harness/client.mjs';
import { DEV, START_MS, devUp, ended, nothingLeft, ready } from '../harness/dev-up.mjs';
import { engine } from '../harness/engine.mjs';
import { calls, folderOf, ownPath } from '../harness/path.mjs';
import { ROOT } from '../harness/repository.mjs';

const REDIS = ['redis-server', 'valkey-server'];
const TELEMETRY = ['otelcol-contrib', 'jaeger', 'prometheus', 'alertmanager', 'prometheus-alertmanager'];
const NO_ENGINE = { docker: '#!/bin/sh\nexit 1\n' };
// Someone who is not root, wherever the tests run; sudo does as it is told; whatever is installed, the package manager brings a Redis.
const SOMEONE = { id: '#!/bin/sh\necho 1000\n', sudo: calls('sudo', 'exec "$@"') };
const MANAGER = {
  'apt-get': calls('apt-get', `
[ "$1" = install ] || exit 0
ln -sf "${folderOf('redis-server')}/redis-server" "$(dirname "$0")/redis-server"`),
};

// A PATH without Redis for someone with a package manager, and what is different about it.
const laptop = ({ without = REDIS, ...standIns } = {}) => ownPath({ without, standIns: { ...SOMEONE, ...MANAGER, ...NO_ENGINE, ...standIns } });

// For what ends before anything is built.
function dev(args, { path }, env = {}) {
  const { CARGO_HOME, RUSTUP_HOME, HOME } = process.env;
  const given = Object.fromEntries(Object.entries({ CARGO_HOME, RUSTUP_HOME, HOME }).filter(([, value]) => value !== undefined));
  return spawnSync(DEV, args, { env: { ...given, PATH: path, PORT: '0', ...env }, encoding: 'utf8', timeout: START_MS });
}

async function running(t, args, env, body) {
  const up = devUp(args, env);
  try {
    await body(up, await ready(up));
    up.signal('SIGINT');
    assert.deepEqual(await ended(up), { code: 0, signal: null });
    await nothingLeft(up);
  } catch (error) {
    t.diagnostic(up.report());
    throw error;
  } finally {
    if (!up.exit) up.signal('SIGTERM');
    await ended(up);
  }
}

async function serves(url) {
  const client = await Client.connect(url);
  try {
    await client.join('lobby', 'ann');
  } finally {
    client.close();
  }
}

test('./dev up without Redis and without Docker: one sentence, and nothing is installed', () => {
  const here = laptop();
  const { status, stderr } = dev(['up'], here);
  assert.equal(stderr, 'dev: there is no Redis; install it with: sudo apt-get update && sudo apt-get install redis-server '
    + '(./dev up --install does that), or start Docker, or set REDIS_URL\n');
  assert.equal(status, 1);
  assert.deepEqual(here.called(), []);
});

test('a Rust that is too old is named, and what updates it: rustup, which a package manager does not bring', () => {
  const rustc = '#!/bin/sh\necho "rustc 1.63.0 (4b91a6ea7 2022-08-08)"\n';
  const sentence = /^dev: Rust 1\.63\.0 is too old, 1\.\d+ is needed; (.*)\n$/;
  assert.equal(dev(['up'], laptop({ rustc, rustup: '#!/bin/sh\n' })).stderr.match(sentence)?.[1], 'update it with: rustup update stable');
  assert.match(dev(['up'], laptop({ rustc, without: ['rustup'] })).stderr.match(sentence)?.[1], /^install it with: curl .*rustup\.rs \| sh$/);
});

// The package manager has no other.
test('a Redis that is too old is named, and where to get a newer one', () => {
  const here = laptop({ 'redis-server': '#!/bin/sh\necho Redis server v=6.2.7 sha=0\n' });
  for (const args of [['up'], ['up', '--install'], ['test'], ['bench', '--install']]) {
    const { stderr } = dev(args, here);
    assert.match(stderr, /^dev: redis-server 6\.2\.7 is too old; [^\n]*7 or newer from https:\/\/redis\.io\/\S+ [^\n]+\n$/);
  }
  assert.deepEqual(here.called(), []);
});

test('a C compiler or make that is missing: one sentence, or with --install it is installed', () => {
  for (const without of [['cc'], ['make']]) {
    const here = laptop({ without: [...REDIS, ...without] });
    const sentence = 'dev: a C compiler or make is missing; install it with: sudo apt-get update && sudo apt-get install build-essential';
    assert.equal(dev(['up'], here).stderr, `${sentence} (./dev up --install does that)\n`);
    assert.equal(dev(['token', '--sub', 'ann', '--room', 'a=join'], here).stderr, `${sentence}\n`);
    assert.equal(dev(['lint'], here).stderr, `${sentence}\n`);
    assert.deepEqual(here.called(), []);
    const { stderr } = dev(['up', '--install'], here, { REDIS_URL: 'none' });
    assert.match(stderr, /^dev: installing packages: sudo apt-get update && sudo apt-get install build-essential\ndev: REDIS_URL is not /);
    assert.ok(here.called().includes('apt-get install -y -q build-essential'));
  }
});

for (const url of ['http://127.0.0.1:6379', '127.0.0.1:6379', 'redis:127.0.0.1', 'redis-master://h']) {
  test(`REDIS_URL=${url}: one sentence, before anything is built`, () => {
    const { status, stderr } = dev(['up'], laptop(), { REDIS_URL: url });
    assert.deepEqual([status, stderr], [1, 'dev: REDIS_URL is not a Redis URL, such as redis://127.0.0.1:6379\n']);
  });
}

test('HOST lets other machines in only with --auth, or with AUTH=off; said before anything is built', () => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1']) {
    const { status, stderr } = dev(['up'], laptop(), { HOST: host });
    assert.equal(stderr, `dev: HOST=${host} is reachable from other machines: add --auth, or set AUTH=off, with which any client may claim to be any user\n`);
    assert.equal(status, 1);
  }
  for (const [option, env] of [['--auth', { HOST: '0.0.0.0' }], ['--gateways=1', { HOST: '0.0.0.0', AUTH: 'off' }], ['--states=1', { HOST: '127.0.0.2' }]]) {
    assert.match(dev(['up', option], laptop(), env).stderr, /^dev: there is no Redis; /);
  }
});

for (const [how, args, env] of [['--install', ['--install'], {}], ['CI=true', [], { CI: 'true' }]]) {
  test(`./dev up without Redis and with ${how} installs it`, async (t) => {
    const here = laptop();
    await running(t, args, { PATH: here.path, ...env }, async (up, { urls }) => {
      assert.match(up.stderr, /^dev: installing packages: sudo apt-get update && sudo apt-get install redis-server$/m);
      assert.ok(here.called().includes('apt-get install -y -q redis-server'), here.called().join('\n'));
      await serves(urls[0]);
    });
  });
}

test('./dev up without Redis and with Docker pulls an image, says how large it is, and installs nothing', async (t) => {
  const here = laptop({ docker: engine() });
  await running(t, [], { PATH: here.path }, async (up, { urls }) => {
    assert.match(up.stderr, /^dev: pulling redis:7\.\d+\S*, 42 MB\n(.*\n)?dev: there is no Redis here: it runs in a container \(redis:\S+\)$/m);
    await serves(urls[0]);
  });
  assert.deepEqual(here.called().filter((call) => !call.startsWith('docker')), []);
  assert.equal(here.called().filter((call) => call.startsWith('docker pull')).length, 1);
});

test('./dev up without Redis, with a Docker that cannot pull: the sentence', () => {
  const here = laptop({ docker: engine({ pull: 'false' }) });
  const { status, stderr } = dev(['up'], here);
  assert.match(stderr, /^dev: there is no Redis; install it with: [^\n]+$/m);
  assert.equal(status, 1);
  assert.deepEqual(here.called().filter((call) => !call.startsWith('docker')), []);
});

test('./dev test asks for what it needs, and installs it with --install', () => {
  const here = laptop();
  const missing = dev(['test', 'unit'], here);
  assert.match(missing.stderr, /^dev: there is no Redis; Redis or Valkey 7 or newer is needed: install it with: [^\n]+\(\.\/dev test --install does that\)\n$/);
  assert.equal(missing.status, 1);
  const bench = dev(['bench'], here);
  assert.match(bench.stderr, /\(\.\/dev bench --install does that\)\n$/);
  assert.deepEqual(here.called(), []);

  const nodeless = laptop({ without: ['node', 'npm', 'nodejs'] });
  const { stderr, status } = dev(['test', 'system', 'presence'], nodeless);
  assert.match(stderr, /^dev: Node\.js or npm is missing; Node\.js 18\.19 or newer [^\n]+: install it with: sudo apt-get update && sudo apt-get install nodejs npm [^\n]+\n$/);
  assert.equal(status, 1);
  assert.deepEqual(nodeless.called(), []);
  assert.match(dev(['test', '--install', 'system', 'presence'], nodeless).stderr, /^dev: installing packages: sudo apt-get update && sudo apt-get install nodejs npm$/m);
  assert.ok(nodeless.called().includes('apt-get install -y -q nodejs npm'));
});

test('without HAProxy ./dev test says that the edge is not tested, and --install installs it', () => {
  const here = laptop();
  // HAProxy is hidden, even if this machine has it.
  const want = (install) => spawnSync('bash', ['--norc', '-c', `say() { echo "dev: $*" >&2; }; . scripts/need.sh; has() { [ "$1" != haproxy ]; }; ${install} want_haproxy`],
    { cwd: ROOT, env: { PATH: here.path, CI: '' }, encoding: 'utf8' });
  const sentence = 'dev: the edge is not tested, because HAProxy is missing; install it with: '
    + 'sudo apt-get update && sudo apt-get install haproxy (./dev test --install does that)\n';
  assert.equal(want('in_container() { false; };').stderr, sentence);
  assert.deepEqual(here.called(), []);
  assert.match(want('install=yes;').stderr, /^dev: installing packages: sudo apt-get update && sudo apt-get install haproxy\n/);
  assert.ok(here.called().includes('apt-get install -y -q haproxy'));
});

test('--observe pulls the images that are missing, says how large they are, and shows where the servers are', async (t) => {
  const here = laptop({ without: [], docker: engine() });
  await running(t, ['--observe'], { PATH: here.path, OBSERVE_PORTS: 'any' }, async (up, { urls }) => {
    const pulled = [...up.stderr.matchAll(/^dev: pulling (\S+), 42 MB$/gm)].map(([, image]) => image);
    assert.equal(pulled.length, 4, up.stderr);
    // Those are the user's to get.
    assert.doesNotMatch(pulled.join(' '), /grafana/);
    for (const name of ['Jaeger', 'Prometheus', 'Alertmanager', 'Collector']) assert.match(up.lines.join('\n'), new RegExp(`^  ${name} +http://`, 'm'));
    await serves(urls[0]);
    // Each mounted file is there.
    const mounted = here.called().flatMap((call) => [...call.matchAll(/-v (\/[^ :]+):/g)].map(([, path]) => path));
    assert.ok(mounted.length >= 5);
    for (const path of mounted) assert.ok(!path.startsWith(ROOT) || spawnSync('test', ['-e', path]).status === 0, `${path} is mounted and missing`);
  });
});

test('--observe with images that cannot be pulled says so in a line, and goes on without', async (t) => {
  const here = laptop({ without: TELEMETRY, docker: engine({ pull: 'false' }) });
  const env = { PATH: here.path, OBSERVE_PORTS: 'any', XDG_CACHE_HOME: join(here.root, 'cache') };
  await running(t, ['--observe'], env, async (up, { urls }) => {
    assert.match(up.stderr, /^dev: otel\/\S+ cannot be pulled: the servers whose images are missing are left out$/m);
    assert.equal(here.called().filter((call) => call.startsWith('docker pull')).length, 1, 'one failure is enough');
    const leftOut = /^dev: left out, because the image of the collector cannot be pulled, .*otelcol-contrib, jaeger, prometheus, alertmanager; .*--observe=build\n/m;
    assert.match(up.stderr, leftOut);
    assert.ok(up.stderr.search(leftOut) < up.stderr.search(/^dev: building/m), 'before the build');
    assert.match(up.lines.join('\n'), /^ {2}Observe: nothing, /m);
    assert.doesNotMatch(up.stderr, /^dev: building \w+ into/m);
    await serves(urls[0]);
  });
});

test('--observe=build without Go: one sentence, before anything is built', () => {
  const here = laptop({ without: [...TELEMETRY, 'go'] });
  const env = { REDIS_URL: 'redis://:unchecked@h', OBSERVE_PORTS: 'any', XDG_CACHE_HOME: join(here.root, 'cache') };
  const { status, stderr } = dev(['up', '--observe=build'], here, env);
  assert.match(stderr, /^dev: otelcol-contrib, jaeger, prometheus, alertmanager cannot be built without Go 1\.\d+ or newer; [^\n]+\n$/);
  assert.equal(status, 1);
});

test('Grafana and the gateways do not want the same port', () => {
  const ports = (port, gateways, more = '') => spawnSync('bash', ['-c', `
    say() { echo "$@"; }; die() { say "$@"; exit 1; }; . scripts/net.sh; . scripts/observe.sh; port_in_use() { return 1; }
    PORT=${port} gateways=${gateways} ${more}; need_observe_ports; echo $grafana_port`], { cwd: ROOT, encoding: 'utf8' }).stdout.trim();
  assert.equal(ports(3000, 1), '3001');
  assert.equal(ports(3000, 2), '3002');
  assert.equal(ports(3001, 4), '3005');
  assert.match(ports(9089, 2), /^port 9090 is that of a gateway and of prometheus; /);
});

test('who installs unasked: CI, root in a container, and no one else', () => {
  const may = (id, container, env = {}) => spawnSync('bash', ['-c', `
    . scripts/need.sh; id() { echo ${id}; }; in_container() { ${container}; }; may_install`], { cwd: ROOT, env: { PATH: process.env.PATH, ...env } }).status === 0;
  assert.deepEqual([may(0, true), may(0, false), may(1000, true), may(1000, false)], [true, false, false, false]);
  assert.deepEqual([may(1000, false, { CI: 'true' }), may(1000, false, { CI: 'false' })], [true, false]);
});

