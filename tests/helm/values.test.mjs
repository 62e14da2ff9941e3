// The values: each explained, each known to the schema, wrong ones refused in a sentence, and what becomes of them known
// to the services.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { read } from '../harness/repository.mjs';
import { COMPONENTS, Rendered, objects, template } from './chart.mjs';

const VALUES = 'deploy/helm/rollcall/values.yaml';
const schema = JSON.parse(read('deploy/helm/rollcall/values.schema.json'));
const [{ thing: values }] = objects(read(VALUES));

const resolve = (part) => (part?.$ref ? resolve(schema.definitions[part.$ref.split('/').at(-1)]) : part);
const parts = (part) => (part?.anyOf ? part.anyOf.map(resolve).find(({ type }) => type === 'object') : part);

// Every path that a closed object of the schema knows.
function known(part, path = []) {
  const here = parts(resolve(part));
  if (!here?.properties) return [path.join('.')];
  return Object.entries(here.properties).flatMap(([key, child]) => known(child, [...path, key]));
}

test('each value in values.yaml has a comment above it', () => {
  const lines = read(VALUES).split('\n');
  const bare = lines.filter((line, index) => {
    const key = line.match(/^( *)[a-zA-Z]+:(.*)$/);
    if (!key) return false;
    if (/^\s*#/.test(lines[index - 1])) return false;
    // The keys of a service are explained one by one; those of Kubernetes' own objects are not ours to explain.
    return !/^(gateway|presenceState|reaper):$|^ +(requests|limits|podSelector): /.test(line);
  });
  assert.deepEqual(bare, []);
});

test('the schema knows what values.yaml has, and nothing else', () => {
  const optional = /^(global|(gateway|presenceState|reaper)\.(image\.|resources\.))/;
  const missing = known(schema).filter((path) => {
    if (optional.test(path)) return false;
    let at = values;
    for (const key of path.split('.')) {
      if (at === null || typeof at !== 'object' || !(key in at)) return true;
      at = at[key];
    }
    return false;
  });
  assert.deepEqual(missing, []);
});

const has = (path) => path.split('.').reduce((at, key) => at?.[key], values) !== undefined;

test('the README names values that there are, with their defaults, and its example is taken', () => {
  const page = read('deploy/helm/README.md');
  const [table] = page.match(/\| value \| default[^]*?\n\n/);
  const paths = [...table.matchAll(/^\| (.+?) \|/gm)].slice(1).flatMap(([, cell]) => [...cell.matchAll(/`([a-zA-Z.]+)`/g)].map(([, path]) => path));
  assert.ok(paths.length > 20);
  for (const path of paths) assert.ok(has(path), path);
  for (const [, path, value] of table.matchAll(/^\| `([a-zA-Z.]+)`(?:, `[^|]+)? \| `([^`|]+)` \|/gm)) {
    const found = path.split('.').reduce((at, key) => at[key], values);
    assert.equal(String(found), value, path);
  }
  const [, example] = page.match(/`my-values\.yaml`:\n\n```yaml\n([^]*?)```/);
  const file = join(mkdtempSync(join(tmpdir(), 'rollcall-values-')), 'my-values.yaml');
  try {
    writeFileSync(file, example);
    assert.equal(Rendered.of(null, ['--values', file]).kind('Ingress').length, 1);
  } finally {
    rmSync(dirname(file), { recursive: true });
  }
});

test('the versions are those of the services', () => {
  const [, version] = read('Cargo.toml').match(/^version = "(.+)"$/m);
  assert.match(read('deploy/helm/rollcall/Chart.yaml'), new RegExp(`^appVersion: "${version}"$`, 'm'));
});

// Settings of a service from its default.toml: names as variables, values as text.
function settings(component) {
  return new Map([...read(`services/${component}/default.toml`).matchAll(/^([a-z_]+) = "?([^"\n]*)"?$/gm)]
    .map(([, key, value]) => [key.toUpperCase(), value]));
}

test('each setting of each service is a value, with the same default but where a cluster wants another', () => {
  const cluster = { HOST: '0.0.0.0', LOG_FORMAT: 'json', DEPLOYMENT_ENVIRONMENT: 'production', DRAIN_MS: '10000', AUTH: 'off' };
  const chart = Rendered.of('no-telemetry', ['--set', 'gateway.drainMs=10000']);
  for (const component of COMPONENTS) {
    const defaults = settings(component);
    assert.ok(defaults.delete('REDIS_URL'));
    assert.ok(defaults.delete('REDIS_PASSWORD_FILE')); // the Secret has the whole URL
    for (const [name] of defaults) if (cluster[name]) defaults.set(name, cluster[name]);
    const { data } = chart.one('ConfigMap', component);
    assert.deepEqual(data, Object.fromEntries(defaults), component);
  }
});

const REFUSED = [
  ['no Redis', null, [], /Redis is missing: set redis\.existingSecret\.name/],
  ['two of them', 'default', ['redis.existingSecret.name=x'], /both set: give one of them/],
  ['no decision about tokens', 'default', ['auth.mode='], /auth\.mode is not decided: set it to jwt, .* or to off, with which any client may claim to be any user/],
  ['tokens without keys', 'default', ['auth.mode=jwt'], /auth\.mode=jwt needs one of auth\.keysSecret\.name, auth\.jwksUrl and auth\.hmacSecret\.name/],
  ['tokens with keys from two places', 'everything', ['auth.hmacSecret.name=x'], /and only one/],
  ['keys that no one would use', 'default', ['auth.keysSecret.name=x'], /auth names keys, but auth\.mode is off/],
  ['another way of authentication', 'default', ['auth.mode=basic'], /at '\/auth\/mode': value must be one of/],
  ['keys over plain HTTP', 'existing-secret', ['auth.jwksUrl=http://id.example.com'], /at '\/auth\/jwksUrl'/],
  ['a URL of something else', null, ['redis.url=http://:hunter2@redis'], /redis\.url is no Redis URL/],
  ['a URL that is a list', null, ['redis.url={hunter2}'], /at '\/redis\/url': got array, want string/],
  ['an unknown value', 'default', ['gateway.drain=5'], /at '\/gateway': additional properties 'drain' not allowed/],
  ['an unknown service', 'default', ['gatevay.replicas=5'], /additional properties 'gatevay' not allowed/],
  ['a value taken away', 'default', ['config=null'], /missing property 'config'/],
  ['a drain that the gateway refuses', 'default', ['gateway.drainMs=600001'], /at '\/gateway\/drainMs': maximum/],
  ['a TTL that the services refuse', 'default', ['config.presenceTtlMs=2999'], /at '\/config\/presenceTtlMs': minimum/],
  ['a liveness that there is not', 'default', ['gateway.liveness=ping'], /at '\/gateway\/liveness': value must be one of 'transport', 'heartbeat'/],
  ['pings that the gateway refuses', 'default', ['gateway.pingIntervalMs=999'], /at '\/gateway\/pingIntervalMs': minimum/],
  ['a prefix that would move keys on a cluster', 'default', { 'redis.keyPrefix': '{a}' }, /at '\/redis\/keyPrefix'/],
  ['a name with a dot', 'default', ['fullnameOverride=my.presence'], /at '\/fullnameOverride'/],
  ['a name that is no label', 'default', ['nameOverride=my presence'], /at '\/nameOverride'/],
  ['a number in words', 'default', ['gateway.replicas=many'], /at '\/gateway\/replicas': got string, want integer/],
  ['a name to listen on', 'default', ['config.host=localhost'], /at '\/config\/host'/],
  ['a log format', 'default', ['config.logFormat=xml'], /at '\/config\/logFormat': value must be one of 'text', 'json'/],
  ['an origin without a scheme', 'default', ['gateway.corsOrigins=app.example.com'], /at '\/gateway\/corsOrigins'/],
  ['an origin with a path', 'default', ['gateway.corsOrigins=https://app.example.com/'], /at '\/gateway\/corsOrigins'/],
  ['a proxy by its name', 'default', ['gateway.trustedProxies=ingress'], /at '\/gateway\/trustedProxies'/],
  ['a collector without a scheme', 'default', ['otlp.endpoint=collector:4318'], /at '\/otlp\/endpoint'/],
  ['a share above one', 'default', ['config.heartbeatSampleRatio="2"'], /at '\/config\/heartbeatSampleRatio'/],
  ['an attribute that breaks the list', 'default', ['otlp.resourceAttributes.team=a=b'], /at '\/otlp\/resourceAttributes\/team'/],
  ['an egress to everything', 'default', { 'networkPolicy.redis.ports': [] }, /at '\/networkPolicy\/redis\/ports': minItems/],
  ['a spread with a selector', 'default', ['reaper.topologySpread[0].labelSelector.matchLabels.a=b'], /at '\/reaper\/topologySpread\/0'/],
  ['a registry that ends with a slash', 'default', ['image.registry=registry.example.com/'], /at '\/image\/registry'/],
  ['one image for all', 'default', ['image.repository=rollcall'], /at '\/image': additional properties 'repository' not allowed/],
  ['too little time', 'default', ['gateway.terminationGracePeriodSeconds=24'], /terminationGracePeriodSeconds is 24, but .* take 25: raise it/],
  ['less than the least', 'default', ['reaper.terminationGracePeriodSeconds=5'], /at '\/reaper\/terminationGracePeriodSeconds': minimum/],
  ['a variable of the chart', 'default', ['gateway.extraEnv[0].name=DRAIN_MS', 'gateway.extraEnv[0].value=x'], /DRAIN_MS is set by the chart/],
  ['a variable twice', 'default', ['extraEnv[0].name=A', 'reaper.extraEnv[0].name=A'], /A is set by the chart/],
  ['an HPA upside down', 'default', ['gateway.autoscaling.enabled=true', 'gateway.autoscaling.minReplicas=11'], /minReplicas is above maxReplicas/],
  ['an HPA of nothing', 'default', ['gateway.autoscaling.enabled=true', 'gateway.autoscaling.cpuPercent=null'], /has no metric/],
  ['an ingress to nowhere', 'default', ['ingress.enabled=true'], /ingress\.hosts is empty/],
  ['a path that no client sends', 'default', ['ingress.path=/socket.io/'], /at '\/ingress\/path'/],
  ['an unknown controller', 'default', ['ingress.controller=apache'], /at '\/ingress\/controller': value must be one of/],
];

// A list is said with --set; an object has values that --set cannot write.
const given = (sets) => (Array.isArray(sets) ? sets.flatMap((set) => ['--set', set])
  : Object.entries(sets).flatMap(([path, value]) => ['--set-json', `${path}=${JSON.stringify(value)}`]));

for (const [what, name, sets, sentence] of REFUSED) {
  test(`refused: ${what}`, () => {
    const { status, stdout, stderr } = template(name, given(sets));
    assert.notEqual(status, 0, stdout);
    assert.match(stderr, sentence);
    assert.doesNotMatch(stderr, /hunter2|password/);
  });
}

test('the time that is just enough is taken', () => {
  const chart = Rendered.of('default', ['--set', 'gateway.terminationGracePeriodSeconds=25']);
  assert.equal(chart.pod('gateway').spec.terminationGracePeriodSeconds, 25);
});
