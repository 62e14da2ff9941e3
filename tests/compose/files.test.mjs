// The files of the deployment by themselves: they name the same variables, versions and images. Needs no engine.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';

import { pathOf, read } from '../harness/repository.mjs';

const FILES = ['docker-compose.yml', ...readdirSync(pathOf('deploy/compose')).map((name) => `deploy/compose/${name}`)];
// Each service names its own user of Redis.
const all = FILES.map(read).join('\n').replace(/redis:\/\/(gateway|presence-state|reaper)@/g, 'redis://SERVICE@');

test('.env.example has every variable, with the default that holds', () => {
  const used = new Map([...all.matchAll(/\$\{([A-Z_]+):?-([^}]*)\}/g)].map(([, name, value]) => [name, value]));
  const documented = new Map([...read('.env.example').matchAll(/^#([A-Z_]+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
  documented.delete('COMPOSE_FILE'); // docker-compose's own
  assert.deepEqual(Object.fromEntries([...documented].sort()), Object.fromEntries([...used].sort()));
  for (const [reference] of all.matchAll(/(?<!\$)\$\{[^}]*\}/g)) assert.match(reference, /:?-/, `${reference} has no default`);
});

test('a variable with several mentions has one default', () => {
  const seen = new Map();
  for (const [, name, value] of all.matchAll(/\$\{([A-Z_]+):?-([^}]*)\}/g)) {
    assert.equal(seen.get(name) ?? value, value, name);
    seen.set(name, value);
  }
});

test('versions are those of Cargo.toml, and images those of ./dev up', () => {
  const version = read('Cargo.toml').match(/^version = "(.*)"$/m)[1];
  assert.ok(read('deploy/Dockerfile').includes(`ARG ROLLCALL_VERSION=${version}\n`));
  assert.ok(all.includes(`\${ROLLCALL_VERSION:-${version}}`));
  const used = [...read('scripts/images.sh').matchAll(/\) echo (\S+:\S+) ;;/g)].map(([, image]) => image);
  assert.equal(used.length, 7);
  for (const image of used) assert.ok(all.includes(`image: ${image}\n`), `docker-compose.yml has not ${image}`);
});

test('the toolchain that builds the images is not older than what the crates need', () => {
  const number = (text) => Number(text.split('.')[1]);
  const needed = read('Cargo.toml').match(/^rust-version = "(.*)"$/m)[1];
  const builders = [...read('deploy/Dockerfile').matchAll(/^FROM rust:(\S+?)-/gm)].map(([, have]) => have);
  assert.equal(new Set(builders).size, 1);
  assert.ok(number(builders[0]) >= number(needed));
});

const services = read('docker-compose.yml').split(/^services:$/m)[1].split(/^networks:$/m)[0];
const blocks = services.split(/^ {2}(?=[a-z-]+:$)/m).slice(1);

test('the edge and the gateways share one network, the one whose addresses gateways believe', () => {
  const networks = (name) => blocks.find((text) => text.startsWith(`${name}:\n`)).match(/^ {4}networks: \[(.*)\]$/m)[1].split(', ');
  assert.deepEqual(networks('edge').filter((network) => networks('gateway').includes(network)), ['edge']);
  assert.ok(networks('prometheus').some((network) => networks('edge').includes(network)));
});

test('every service with a health check has one configured', () => {
  const image = read('deploy/Dockerfile');
  const silent = blocks.filter((block) => !block.includes('\n    healthcheck:\n')).map((block) => block.split(':')[0]);
  // Ours have a check in their image; the first ends, and the collector's image has no program but the collector.
  const ours = silent.filter((name) => image.includes(`AS ${name}\n`));
  assert.equal(ours.length, image.match(/^HEALTHCHECK /gm).length);
  assert.deepEqual(silent.filter((name) => !ours.includes(name)), ['setup', 'otel-collector']);
});

test('each service has a user of Redis and only its own password', () => {
  const users = [...read('deploy/redis/users.acl').matchAll(/^user (\S+)/gm)].map(([, user]) => user);
  assert.deepEqual(users, ['default', 'health', 'admin', 'gateway', 'presence-state', 'collector', 'reaper']);
  for (const [user, volume] of [['gateway', 'gateway-secret'], ['presence-state', 'state-secret'], ['reaper', 'reaper-secret']]) {
    const block = read('docker-compose.yml').split(/^ {2}(?=[a-z-]+:$)/m).find((text) => text.startsWith(`${user}:\n`));
    assert.ok(block.includes(`\${REDIS_URL:-redis://${user}@redis:6379}`), user);
    assert.deepEqual([...block.matchAll(/source: (\S+)}/g)].map(([, source]) => source), [volume], user);
  }
  const collector = blocks.find((text) => text.startsWith('otel-collector:\n'));
  assert.deepEqual([...collector.matchAll(/source: (\S+)}/g)].map(([, source]) => source), ['collector-secret']);
});

test('every service is bounded, unprivileged and restarted', () => {
  assert.equal(blocks.length, 12);
  for (const block of blocks) {
    const name = block.split(':')[0];
    assert.match(block, /<<: \*(defaults|service)/, name);
    if (name !== 'setup') assert.match(block, /cpus: [\s\S]*mem_limit: /, name);
    assert.doesNotMatch(block, /privileged|network_mode: host|docker\.sock/, name);
  }
});

test('a gateway runs out of files before it runs out of memory', () => {
  const [files] = all.match(/(?<=\$\{GATEWAY_OPEN_FILES:-)\d+/);
  const [gibibytes] = all.match(/(?<=\$\{GATEWAY_MEMORY:-)\d+(?=g\})/);
  const [connections] = all.match(/(?<=\$\{GATEWAY_MAX_CONNECTIONS:-)\d+/);
  assert.ok(Number(connections) <= files - 1000, 'the edge fills a gateway to the brim');
  assert.ok(files * 28 < gibibytes * 1024 * 1024 - 64 * 1024, 'KiB of connections and of the rest');
});

test('the edge, the gateways and docker-compose agree on times', () => {
  const seconds = (text) => Number(text.replace(/s$/, ''));
  const drain = Number(all.match(/\$\{DRAIN_MS:-(\d+)\}/)[1]) / 1000;
  const stop = seconds(all.match(/\$\{GATEWAY_STOP:-(\d+s)\}/)[1]);
  assert.ok(stop >= drain + 8, 'a gateway would be killed while it drains');
});

test('what is built are targets of the Dockerfile, under the names of their images', () => {
  const stages = read('deploy/Dockerfile').split(/^FROM /m).slice(1);
  const ends = stages.filter((stage) => /^ENTRYPOINT /m.test(stage));
  const made = ends.map((stage) => [stage.match(/ AS (\S+)$/m)[1], stage.match(/image\.title="([^"]+)"/)[1]]);
  const named = [...all.matchAll(/target: ([a-z-]+)[^]*?image: \$\{ROLLCALL_IMAGES:-rollcall\}\/([a-z-]+):/g)].map(([, target, image]) => [target, image]);
  assert.deepEqual(named.sort(), made.sort());
});

test('published ports have a bind address that is this machine by default', () => {
  const ports = [...all.matchAll(/"(\$\{[A-Z_]+_BIND:-[^"]*?):(\d+)"/g)].map(([, , port]) => port);
  assert.deepEqual(ports.sort(), ['16686', '3000', '3000', '3100', '3443', '4317', '4318', '9090', '9093']);
  assert.equal(ports.length, (all.match(/\$\{[A-Z_]+_PORT:-\d+\}:\d+"/g) ?? []).length, 'a port is published without');
  for (const [, address] of all.matchAll(/\$\{[A-Z_]+_BIND:-([^}]*)\}/g)) assert.equal(address, '127.0.0.1');
});

test('the demo keeps every trace, has a crowd, and asks for no password that would be the only one', () => {
  const demo = read('deploy/compose/demo.yml');
  for (const setting of ['DEPLOYMENT_ENVIRONMENT: development', 'COLLECTOR_SAMPLE_PERCENT: "100"', 'GF_AUTH_ANONYMOUS_ORG_ROLE: Viewer']) assert.ok(demo.includes(setting), setting);
  assert.equal(demo.match(/PLAYGROUND: "on"/g).length, 2, 'of the gateways, and of the edge');
  // Someone who set AUTH=jwt does not lose it.
  assert.doesNotMatch(demo, /AUTH:|_BIND|privileged|network_mode|docker\.sock/);
  const [, home] = demo.match(/HOME_DASHBOARD_PATH: \/var\/lib\/grafana\/dashboards\/(\S+)/);
  assert.ok(readdirSync(pathOf('deploy/telemetry/grafana/dashboards')).includes(home));
  const [crowd] = demo.split(/^ {2}(?=[a-z-]+:)/m).filter((block) => block.startsWith('crowd:'));
  for (const bound of ['read_only: true', 'cap_drop: [ALL]', 'no-new-privileges:true', 'mem_limit:', 'cpus:', 'pids_limit:', 'max-size:']) assert.ok(crowd.includes(bound), bound);
});
