// What the chart renders: understood by Kubernetes, put together rightly, and as safe as it says.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { read } from '../harness/repository.mjs';
import { CASES, CHART, COMPONENTS, RELEASE, Rendered, VERSIONS, allows, built, helm, objects, selects, template, valuesOf } from './chart.mjs';

const SECRETS = ['a-password-of-the-checks', 'another-password'];
const rendered = {};

before(() => {
  for (const name of CASES) rendered[name] = Rendered.of(name);
});

const each = (check) => {
  for (const name of CASES) {
    for (const component of COMPONENTS) check(rendered[name], component, `${component}, ${name}`);
  }
};

test('helm lint --strict reports nothing', () => {
  for (const name of CASES) {
    const { status, stdout, stderr } = helm('lint', '--strict', '--kube-version', `${VERSIONS.at(-1)}.0`, '--values', valuesOf(name), CHART);
    assert.equal(status, 0, `${name}: ${stdout}${stderr}`);
  }
});

for (const version of VERSIONS) {
  test(`each object is what Kubernetes ${version} understands`, () => {
    for (const name of CASES) {
      const found = objects(template(name, [], { version }).stdout, [version]);
      assert.ok(found.length >= 14, `${name}: only ${found.length} objects`);
      for (const { thing, complaints } of found) assert.deepEqual(complaints, [], `${name}: ${thing.kind} ${thing.metadata.name}`);
    }
  });
}

test('what Kubernetes does not understand is found out', () => {
  const spoilt = (change) => objects(change(rendered.default.yaml), [VERSIONS.at(-1)]).flatMap(({ complaints }) => complaints);
  assert.match(spoilt((yaml) => yaml.replace('minReadySeconds:', 'minReadySecond:'))[0], /minReadySecond/);
  assert.match(spoilt((yaml) => yaml.replace('port: 80,', 'port: "eighty",'))[0], /eighty/);
  assert.match(spoilt((yaml) => yaml.replace('apiVersion: policy/v1\n', 'apiVersion: policy/v9\n'))[0], /find schema/);
  assert.throws(() => spoilt((yaml) => yaml.replace('kind: Deployment', 'kind: Deployment\nkind: Job')), /twice/);
});

test('an older Kubernetes is refused by name', () => {
  const { status, stderr } = template('default', [], { version: '1.29' });
  assert.notEqual(status, 0);
  assert.match(stderr, /requires kubeVersion: >=1\.30/);
});

test('gateways, and no one else, have the keys for tokens', () => {
  const { spec, container } = rendered.everything.pod('gateway');
  const { data } = rendered.everything.one('ConfigMap', 'gateway');
  const mount = container.volumeMounts.find(({ name }) => name === 'auth');
  assert.equal(data.AUTH, 'jwt');
  assert.equal(data.JWT_KEYS_FILE, `${mount.mountPath}/keys`);
  assert.deepEqual(JSON.parse(data.JWT_DEFAULT_ROOMS), [{ room: 'lobby:**', allow: ['join', 'metadata:read'] }]);
  const volume = spec.volumes.find(({ name }) => name === 'auth');
  assert.deepEqual(volume.secret, { secretName: 'keys-of-the-team', items: [{ key: 'jwks.json', path: 'keys' }] });
  const secret = Rendered.of('default', ['--set', 'auth.mode=jwt,auth.hmacSecret.name=x']);
  assert.equal(secret.one('ConfigMap', 'gateway').data.JWT_SECRET_FILE, data.JWT_KEYS_FILE);
  each((chart, component, where) => {
    if (component === 'gateway' && chart === rendered.everything) return;
    for (const { secret: mounted } of chart.pod(component).spec.volumes ?? []) assert.equal(mounted, undefined, where);
  });
});

test('authorities of the user are mounted where SSL_CERT_FILE says, in all services', () => each((chart, component, where) => {
  const { spec, container } = chart.pod(component);
  const file = chart.one('ConfigMap', component).data.SSL_CERT_FILE;
  if (chart !== rendered.everything) {
    assert.equal(file, undefined, where);
    assert.equal(spec.volumes, undefined, where);
    return;
  }
  const mount = container.volumeMounts.find(({ name }) => name === 'authorities');
  assert.equal(file, `${mount.mountPath}/pem`, where);
  const { configMap } = spec.volumes.find(({ name }) => name === mount.name);
  assert.deepEqual(configMap, { name: 'authorities-of-the-team', items: [{ key: 'all.pem', path: 'pem' }] }, where);
}));

test('names are unique, short enough, and carry the release', () => {
  for (const name of CASES) {
    const names = rendered[name].all.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    assert.equal(new Set(names).size, names.length, names.join());
    for (const { metadata } of rendered[name].all) assert.ok(metadata.name.length <= 63 && metadata.labels['helm.sh/chart'], metadata.name);
  }
  const long = Rendered.of('default', ['--set', `fullnameOverride=${'x'.repeat(63)}`]);
  for (const { metadata } of long.all) assert.ok(metadata.name.length <= 63, metadata.name);
  assert.equal(rendered.default.one('Deployment', 'gateway').metadata.name, `${RELEASE}-rollcall-gateway`);
});

test('names that YAML would read as numbers stay names', () => {
  const names = ['redis.existingSecret.name=1', 'redis.existingSecret.key=off', 'auth.hmacSecret.name=2', 'auth.hmacSecret.key=null',
    'serviceAccount.name=3', 'authorities.configMap.name=8', 'authorities.configMap.key=yes', 'gateway.priorityClassName=4', 'ingress.className=5', 'gateway.autoscaling.connections.metric=6', 'nameOverride=7'];
  const sets = ['--set', 'fullnameOverride=presence,redis.url=,auth.mode=jwt,ingress.enabled=true,ingress.hosts={a.example}',
    '--set', 'gateway.autoscaling.enabled=true,gateway.autoscaling.connections.enabled=true', ...names.flatMap((set) => ['--set-string', set])];
  const { status, stdout, stderr } = template('default', sets, { release: '123' });
  assert.equal(status, 0, stderr);
  assert.deepEqual(objects(stdout, VERSIONS).flatMap(({ complaints }) => complaints), []);
});

test('a release whose Services Kubernetes would refuse is refused by name', () => {
  for (const release of ['123', 'my.release']) {
    const { status, stderr } = template('default', [], { release });
    assert.notEqual(status, 0, release);
    assert.match(stderr, new RegExp(`called ${release}-rollcall-gateway .* choose another release name, or set fullnameOverride`));
  }
});

test('what selects pods selects those of its own service, and of no other', () => {
  for (const name of CASES) {
    const pods = COMPONENTS.map((component) => ({ component, labels: rendered[name].pod(component).metadata.labels }));
    const chosen = (selector) => pods.filter(({ labels }) => selects(selector, labels)).map(({ component }) => component);
    for (const { kind, metadata, spec } of rendered[name].all) {
      const selector = { Deployment: spec?.selector, PodDisruptionBudget: spec?.selector, NetworkPolicy: spec?.podSelector,
        Service: kind === 'Service' && { matchLabels: spec.selector } }[kind];
      if (!selector) continue;
      assert.ok(Object.keys(selector.matchLabels).length >= 3, `${name}: ${kind} ${metadata.name}`);
      assert.deepEqual(chosen(selector), [metadata.labels['app.kubernetes.io/component']], `${name}: ${kind} ${metadata.name}`);
    }
    for (const component of COMPONENTS) {
      for (const { labelSelector } of rendered[name].pod(component).spec.topologySpreadConstraints ?? []) {
        assert.deepEqual(chosen(labelSelector), [component]);
      }
    }
  }
});

test('what names an object or a port names one that is there', () => {
  for (const name of CASES) {
    const { all } = rendered[name];
    const find = (kind, wanted) => all.find((thing) => thing.kind === kind && thing.metadata.name === wanted);
    for (const component of COMPONENTS) {
      const { container, spec } = rendered[name].pod(component);
      for (const { configMapRef } of container.envFrom) assert.ok(find('ConfigMap', configMapRef.name), configMapRef.name);
      const ports = container.ports.map((port) => port.name);
      for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) assert.ok(ports.includes(container[probe].httpGet.port));
      for (const { targetPort } of rendered[name].one('Service', component).spec.ports) assert.ok(ports.includes(targetPort));
      assert.ok(name === 'existing-secret' ? spec.serviceAccountName === 'somebody' : find('ServiceAccount', spec.serviceAccountName));
    }
    for (const { spec } of rendered[name].kind('HorizontalPodAutoscaler')) assert.ok(find('Deployment', spec.scaleTargetRef.name));
    for (const { spec } of rendered[name].kind('Ingress')) {
      for (const { http } of spec.rules) {
        const { service } = http.paths[0].backend;
        assert.ok(find('Service', service.name).spec.ports.some((port) => port.name === service.port.name));
      }
    }
  }
});

test('each service has the three probes, and liveness does not ask for Redis', () => each((chart, component, where) => {
  const { container } = chart.pod(component);
  assert.equal(container.startupProbe.httpGet.path, '/healthz', where);
  assert.equal(container.livenessProbe.httpGet.path, '/healthz', where);
  assert.equal(container.readinessProbe.httpGet.path, '/readyz', where);
  assert.ok(container.startupProbe.failureThreshold * container.startupProbe.periodSeconds >= 30, where);
}));

test('a gateway has more time than its pause and its drain take', () => {
  for (const name of CASES) {
    const { spec, container } = rendered[name].pod('gateway');
    const drain = Number(rendered[name].one('ConfigMap', 'gateway').data.DRAIN_MS) / 1000;
    const pause = container.lifecycle?.preStop.sleep.seconds ?? 0;
    assert.ok(spec.terminationGracePeriodSeconds >= pause + drain + 10, `${name}: ${spec.terminationGracePeriodSeconds} s`);
    for (const component of ['presence-state', 'reaper']) assert.ok(rendered[name].pod(component).spec.terminationGracePeriodSeconds >= 10);
  }
  assert.equal(rendered['no-telemetry'].pod('gateway').container.lifecycle, undefined);
  const odd = Rendered.of('default', ['--set', 'gateway.drainMs=2001,gateway.preStopSeconds=1']);
  assert.equal(odd.pod('gateway').spec.terminationGracePeriodSeconds, 14);
});

test('nothing is root, writes, gains or keeps what it does not need', () => each((chart, component, where) => {
  const { spec, container } = chart.pod(component);
  assert.equal(spec.securityContext.runAsNonRoot, true, where);
  assert.ok(spec.securityContext.runAsUser > 0, where);
  assert.deepEqual(spec.securityContext.seccompProfile, { type: 'RuntimeDefault' }, where);
  assert.deepEqual(container.securityContext,
    { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } }, where);
  assert.equal(spec.automountServiceAccountToken, false, where);
  assert.equal(spec.enableServiceLinks, false, where);
  for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) assert.equal(spec[key], undefined, where);
  for (const { secret, configMap } of spec.volumes ?? []) assert.ok(secret ?? configMap, where);
  for (const { readOnly } of container.volumeMounts ?? []) assert.equal(readOnly, true, where);
  assert.ok(container.resources.requests.cpu && container.resources.requests.memory && container.resources.limits.memory, where);
}));

test('an upgrade has a new one ready before an old one goes', () => each((chart, component, where) => {
  const { strategy, minReadySeconds } = chart.one('Deployment', component).spec;
  assert.deepEqual(strategy, { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }, where);
  assert.ok(minReadySeconds > 0, where);
}));

test("Redis' URL comes from a Secret, and stands nowhere else", () => {
  each((chart, component, where) => {
    const variable = chart.pod(component).container.env.find(({ name }) => name === 'REDIS_URL');
    assert.deepEqual(Object.keys(variable.valueFrom), ['secretKeyRef'], where);
  });
  for (const name of CASES) {
    const secrets = rendered[name].kind('Secret');
    assert.equal(secrets.length, ['default', 'no-telemetry'].includes(name) ? 1 : 0, name);
    for (const { metadata, data } of secrets) {
      const { secretKeyRef } = rendered[name].pod('reaper').container.env[0].valueFrom;
      assert.equal(secretKeyRef.name, metadata.name);
      assert.match(Buffer.from(data[secretKeyRef.key], 'base64').toString(), /^redis\S+password/);
    }
    const rest = JSON.stringify(rendered[name].all.filter(({ kind }) => kind !== 'Secret'));
    for (const secret of SECRETS) {
      for (const form of ['utf8', 'base64']) assert.ok(!rest.includes(Buffer.from(secret).toString(form).slice(0, -3)), `${name}: ${secret}`);
    }
  }
  const team = rendered.everything.pod('gateway').container.env[0].valueFrom.secretKeyRef;
  assert.deepEqual(team, { name: 'redis-of-the-team', key: 'url' });
  assert.equal(rendered['existing-secret'].pod('gateway').container.env[0].valueFrom.secretKeyRef.key, 'redis-url');
});

test('pods are replaced when their own settings change, and no others', () => {
  const sums = (args) => COMPONENTS.map((component) => Rendered.of('default', args).pod(component).metadata.annotations);
  const before = sums([]);
  const differ = (args, key) => sums(args).map((annotations, index) => annotations[key] !== before[index][key]);
  assert.deepEqual(differ(['--set', 'gateway.drainMs=9000'], 'checksum/config'), [true, false, false]);
  assert.deepEqual(differ(['--set', 'reaper.intervalMs=9000'], 'checksum/config'), [false, false, true]);
  assert.deepEqual(differ(['--set', 'config.presenceTtlMs=9000'], 'checksum/config'), [true, false, false]);
  assert.deepEqual(differ(['--set', 'redis.keyPrefix=other'], 'checksum/config'), [true, true, true]);
  assert.deepEqual(differ(['--set', 'redis.url=redis://elsewhere'], 'checksum/redis'), [true, true, true]);
  assert.deepEqual(differ(['--set', 'reaper.replicas=7'], 'checksum/config'), [false, false, false]);
  assert.match(before[0]['checksum/redis'], /^[0-9a-f]{6}$/);
});

test('telemetry goes out with the name of its pod, or not at all', () => {
  each((chart, component, where) => {
    const { env } = chart.pod(component).container;
    const names = env.map(({ name }) => name);
    const endpoint = chart.one('ConfigMap', component).data.OTEL_EXPORTER_OTLP_ENDPOINT;
    assert.equal(endpoint === undefined, where.endsWith('no-telemetry'), where);
    assert.equal(names.includes('OTEL_RESOURCE_ATTRIBUTES'), endpoint !== undefined, where);
    // A variable can name only those before it.
    if (endpoint) assert.ok(names.indexOf('NODE_NAME') < names.indexOf('OTEL_RESOURCE_ATTRIBUTES'), where);
  });
  const value = rendered.everything.pod('reaper').container.env.find(({ name }) => name === 'OTEL_RESOURCE_ATTRIBUTES').value;
  assert.equal(value, 'k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME),k8s.cluster.name=east,team=rooms');
});

test('large numbers are written out', () => {
  assert.equal(rendered.everything.one('ConfigMap', 'presence-state').data.METADATA_TTL_MS, '31536000000');
  assert.equal(rendered.everything.one('ConfigMap', 'gateway').data.PRESENCE_TTL_MS, '3600000');
});

test('NetworkPolicies: the edge reaches gateways, no one reaches the others, all reach Redis, collector and DNS', () => {
  const nginx = { namespace: { 'kubernetes.io/metadata.name': 'ingress-nginx' } };
  const stranger = { namespace: { 'kubernetes.io/metadata.name': 'default' } };
  const dns = { namespace: { 'kubernetes.io/metadata.name': 'kube-system' }, pod: { 'k8s-app': 'kube-dns' } };
  const policy = (name, component) => rendered[name].one('NetworkPolicy', component);
  assert.ok(allows(policy('default', 'gateway'), 'in', nginx, 'http'));
  assert.ok(!allows(policy('default', 'gateway'), 'in', stranger, 'http'));
  assert.ok(allows(policy('no-telemetry', 'gateway'), 'in', stranger, 'http'));
  each((chart, component, where) => {
    const one = chart.one('NetworkPolicy', component);
    assert.deepEqual(one.spec.policyTypes, ['Ingress', 'Egress'], where);
    const monitor = { namespace: { 'kubernetes.io/metadata.name': 'telemetry' } };
    if (component !== 'gateway') {
      assert.ok(!allows(one, 'in', nginx, 'http'), where);
      assert.equal(allows(one, 'in', monitor, 'http'), where.endsWith('everything'), where);
    }
    assert.ok(allows(one, 'out', dns, 53, 'UDP') && allows(one, 'out', dns, 53), where);
    assert.ok(!allows(one, 'out', stranger, 53, 'UDP') && !allows(one, 'out', dns, 5353), where);
    for (const port of [22, 80, 3000, 8080]) assert.ok(!allows(one, 'out', stranger, port), `${where}: ${port}`);
    for (const rule of one.spec.egress) assert.ok(rule.ports.length > 0, `${where}: a rule without ports lets everything out`);
    if (!where.endsWith('everything')) assert.ok(allows(one, 'out', stranger, 6379), where);
  });
  const collectors = { default: 4318, everything: 443, 'existing-secret': 4318 };
  for (const [name, port] of Object.entries(collectors)) {
    const telemetry = { namespace: { 'kubernetes.io/metadata.name': 'telemetry' } };
    for (const component of COMPONENTS) assert.ok(allows(policy(name, component), 'out', telemetry, port), `${name}: ${component}`);
  }
  assert.ok(!allows(policy('no-telemetry', 'gateway'), 'out', stranger, 4318));
  // Gateways alone fetch the keys for tokens.
  for (const component of COMPONENTS) {
    assert.equal(allows(policy('existing-secret', component), 'out', stranger, 443), component === 'gateway', component);
  }
  const keys = Rendered.of('existing-secret', ['--set', 'auth.jwksUrl=https://id.example.com:8443/jwks', '--set-json',
    'networkPolicy.jwks.to=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"identity"}}}]']).one('NetworkPolicy', 'gateway');
  assert.ok(allows(keys, 'out', { namespace: { 'kubernetes.io/metadata.name': 'identity' } }, 8443));
  assert.ok(!allows(keys, 'out', stranger, 8443) && !allows(keys, 'out', stranger, 443));
  const everything = policy('everything', 'reaper');
  assert.ok(!allows(everything, 'out', stranger, 6379) && !allows(everything, 'out', stranger, 443));
  assert.ok(everything.spec.egress[0].to.some(({ ipBlock }) => ipBlock?.cidr === '10.1.2.0/24'));
  assert.ok(allows(everything, 'out', { address: '169.254.20.10' }, 53, 'UDP'));
  assert.equal(Rendered.of('default', ['--set', 'networkPolicy.enabled=false']).kind('NetworkPolicy').length, 0);
});

test('budgets: one may be missing, and pods that are not ready never hold up a node', () => {
  for (const component of COMPONENTS) {
    const { spec } = rendered.default.one('PodDisruptionBudget', component);
    assert.equal(spec.maxUnavailable, 1);
    assert.equal(spec.unhealthyPodEvictionPolicy, 'AlwaysAllow');
  }
  assert.equal(rendered['no-telemetry'].kind('PodDisruptionBudget').length, 0);
  assert.equal(rendered.everything.one('PodDisruptionBudget', 'presence-state').spec.maxUnavailable, '25%');
});

test('autoscaling: gateways by CPU and connections, presence-state by CPU, and it alone says how many', () => {
  assert.equal(rendered.default.kind('HorizontalPodAutoscaler').length, 0);
  const gateway = rendered.everything.one('HorizontalPodAutoscaler', 'gateway').spec;
  assert.deepEqual(gateway.metrics.map(({ type }) => type), ['Resource', 'External']);
  assert.equal(gateway.metrics[1].external.metric.name, 'presence_connections_active');
  assert.deepEqual(gateway.metrics[1].external.target, { type: 'AverageValue', averageValue: '12000' });
  assert.deepEqual(gateway.behavior.scaleDown.policies, [{ type: 'Pods', value: 1, periodSeconds: 300 }]);
  assert.deepEqual(rendered.everything.one('HorizontalPodAutoscaler', 'presence-state').spec.metrics.map(({ type }) => type), ['Resource']);
  assert.equal(rendered.everything.one('Deployment', 'gateway').spec.replicas, undefined);
  assert.equal(rendered.everything.one('Deployment', 'presence-state').spec.replicas, undefined);
  assert.equal(rendered.everything.one('Deployment', 'reaper').spec.replicas, 3);
  const pods = Rendered.of('everything', ['--set', 'gateway.autoscaling.connections.type=Pods,gateway.autoscaling.cpuPercent=null']);
  const { metrics } = pods.one('HorizontalPodAutoscaler', 'gateway').spec;
  assert.deepEqual(metrics.map(({ type }) => type), ['Pods']);
  assert.equal(metrics[0].pods.metric.name, 'presence_connections_active');
  assert.deepEqual(objects(pods.yaml, VERSIONS).flatMap(({ complaints }) => complaints), []);
});

test('an ingress is sticky by the cookie, each controller in its own words, and leads to Socket.IO only', () => {
  const annotations = (controller) => {
    const chart = Rendered.of('default', ['--set', `ingress.enabled=true,ingress.controller=${controller},ingress.hosts={a.example},ingress.cookieName=home`]);
    const [ingress] = chart.kind('Ingress');
    assert.equal(ingress.spec.rules[0].http.paths[0].path, '/socket.io');
    assert.equal(ingress.spec.ingressClassName, undefined);
    return { ...ingress.metadata.annotations, ...chart.one('Service', 'gateway').metadata.annotations };
  };
  const nginx = annotations('nginx');
  assert.equal(nginx['nginx.ingress.kubernetes.io/affinity'], 'cookie');
  assert.equal(nginx['nginx.ingress.kubernetes.io/affinity-mode'], 'persistent');
  assert.equal(nginx['nginx.ingress.kubernetes.io/session-cookie-name'], 'home');
  assert.ok(Number(nginx['nginx.ingress.kubernetes.io/proxy-read-timeout']) > 60);
  assert.deepEqual(annotations('haproxy'), { 'haproxy.org/cookie-persistence': 'home' });
  assert.equal(annotations('haproxy-ingress')['haproxy-ingress.github.io/session-cookie-name'], 'home');
  assert.equal(annotations('traefik')['traefik.ingress.kubernetes.io/service.sticky.cookie.name'], 'home');
  assert.deepEqual(annotations('other'), {});
  const [own] = rendered.everything.kind('Ingress');
  assert.equal(own.metadata.annotations['nginx.ingress.kubernetes.io/proxy-read-timeout'], '7200');
  assert.equal(rendered.everything.one('Service', 'gateway').metadata.annotations['traefik.ingress.kubernetes.io/service.sticky.cookie'], undefined);
});

test('images and commands are those that deploy/Dockerfile makes and docker-compose.yml names', () => {
  const compose = read('docker-compose.yml').split(/^ {2}(?=[a-z-]+:$)/m);
  for (const component of COMPONENTS) {
    const { name, entryPoint, copied } = built(component);
    assert.deepEqual(entryPoint, [copied], `the entry point of ${component} is the program in its image`);
    const { image, command } = rendered.default.pod(component).container;
    assert.equal(image, `rollcall/${name}:0.1.0`);
    assert.equal(command, undefined, `${component} starts by its entry point`);
    const service = compose.find((block) => block.startsWith(`${component}:\n`));
    assert.match(service, new RegExp(`^ {6}target: ${component}$|target: ${component}}`, 'm'));
    assert.ok(service.includes(`image: \${ROLLCALL_IMAGES:-rollcall}/${name}:`), component);
  }
});

test('images of a registry, and one of its own with another command', () => {
  const { image, command } = rendered.everything.pod('gateway').container;
  assert.match(image, /^registry\.example\.com\/other\/gateway@sha256:[0-9a-f]{64}$/);
  assert.deepEqual(command, ['/gateway']);
  assert.equal(rendered.everything.pod('presence-state').container.image, 'registry.example.com/team/presence-state:1.2.3');
  const tagged = Rendered.of('everything', ['--set', 'reaper.image.tag=next']);
  assert.equal(tagged.pod('reaper').container.image, 'registry.example.com/team/presence-reaper:next');
});

test('the labels by which pods are chosen cannot be overwritten', () => {
  const chart = Rendered.of('default', ['--set-json', 'reaper.podLabels={"app.kubernetes.io/component":"gateway","team":"rooms"}']);
  const { labels } = chart.pod('reaper').metadata;
  assert.deepEqual([labels['app.kubernetes.io/component'], labels.team], ['reaper', 'rooms']);
});

// Helm shows notes only when installing: here they are rendered as an object of a copy of the chart.
const folder = mkdtempSync(join(tmpdir(), 'rollcall-notes-'));
after(() => rmSync(folder, { recursive: true }));

test('the notes say where to connect and what is missing, and no secret', () => {
  cpSync(CHART, folder, { recursive: true });
  const notes = readFileSync(join(CHART, 'templates/NOTES.txt'), 'utf8');
  renameSync(join(folder, 'templates/NOTES.txt'), join(folder, 'templates/notes.yaml'));
  writeFileSync(join(folder, 'templates/notes.yaml'),
    `{{- define "notes" }}${notes}{{ end }}\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: notes }\ndata: { notes: {{ include "notes" . | toJson }} }\n`);
  const notesOf = (name, args) => Rendered.of(name, args, { chart: folder }).all.find(({ metadata }) => metadata.name === 'notes').data.notes;
  const said = Object.fromEntries(CASES.map((name) => [name, notesOf(name)]));
  for (const [name, text] of Object.entries(said)) {
    for (const secret of SECRETS) assert.ok(!text.includes(secret), name);
    assert.match(text, /readyz/, name);
    assert.equal(/Use redis\.existingSecret instead/.test(text), ['default', 'no-telemetry'].includes(name), name);
    assert.equal(/otlp\.endpoint is empty/.test(text), name === 'no-telemetry', name);
    assert.equal(/not sticky/.test(text), name === 'default', name);
    assert.equal(/limits of one address/.test(text), ['existing-secret', 'no-telemetry'].includes(name), name);
  }
  assert.match(said.default, /port-forward service\/live-rollcall-gateway 3000:80/);
  assert.match(said.everything, /\n {2}https:\/\/presence\.example\.com\n/);
  assert.match(said['existing-secret'], /\n {2}http:\/\/presence\.example\.com\n/);
  for (const name of ['default', 'everything']) assert.match(said[name], /rollout status \S+\n\n\S[^]*\n\nNote:\n- \S/, name);
  assert.doesNotMatch(notesOf('everything', ['--set', 'networkPolicy.enabled=false']), /Note:/, 'nothing to note');
});
