// The chart as Helm renders it, and its objects as Kubernetes would read them. Helm is HELM, or on the PATH; the objects
// are read and validated by objects.py with the Python of VALIDATE_PYTHON, which has kubernetes-validate.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { pathOf, read } from '../harness/repository.mjs';

export const CHART = pathOf('deploy/helm/rollcall');
/** The oldest Kubernetes that the chart allows, and a recent one. */
export const VERSIONS = ['1.30', '1.37'];
export const RELEASE = 'live';
const NAMESPACE = 'rooms';
const OBJECTS = fileURLToPath(new URL('objects.py', import.meta.url));

/** Values files of the checks, by name: `default` is ci/default-values.yaml. */
export const CASES = readdirSync(join(CHART, 'ci')).map((name) => name.replace('-values.yaml', '')).sort();
export const valuesOf = (name) => join(CHART, 'ci', `${name}-values.yaml`);

function run(program, args, options, hint) {
  const result = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26, ...options });
  if (result.error) throw new Error(`${program} cannot be run (${result.error.code}): ${hint}`);
  return result;
}

/** Runs Helm; returns its status and output. */
export const helm = (...args) => run(process.env.HELM ?? 'helm', args, {}, 'install Helm 3.17 or newer, or name it by HELM');

/** The output of `helm template` for the values file of a case (none for `null`) and more arguments. */
export function template(name, args = [], { chart = CHART, version = VERSIONS.at(-1), release = RELEASE } = {}) {
  const values = name === null ? [] : ['--values', valuesOf(name)];
  return helm('template', release, chart, '--namespace', NAMESPACE, '--kube-version', `${version}.0`, ...values, ...args);
}

/** Documents of YAML as `[{thing, complaints}]`; complaints are those of Kubernetes' schemas. */
export function objects(yaml, versions = []) {
  const python = process.env.VALIDATE_PYTHON ?? 'python3';
  const hint = `name by VALIDATE_PYTHON a Python with ${read('scripts/tools/kubernetes-validate/requirements.txt').match(/kubernetes-validate==\S+/)}`;
  const { status, stdout, stderr } = run(python, [OBJECTS, ...versions], { input: yaml }, hint);
  if (status !== 0) throw new Error(/No module named/.test(stderr) ? `${python} lacks packages: ${hint}` : stderr);
  return JSON.parse(stdout);
}

/** The objects of a case, to be asked by kind and name. */
export class Rendered {
  static of(name, args, options) {
    const { status, stdout, stderr } = template(name, args, options);
    if (status !== 0) throw new Error(stderr);
    return new Rendered(stdout);
  }

  constructor(yaml) {
    this.yaml = yaml;
    this.all = objects(yaml).map(({ thing }) => thing);
  }

  kind(kind) {
    return this.all.filter((thing) => thing.kind === kind);
  }

  /** The one of a kind that belongs to a component: gateway, presence-state, reaper. */
  one(kind, component) {
    const found = this.kind(kind).filter(({ metadata }) => metadata.labels['app.kubernetes.io/component'] === component);
    if (found.length !== 1) throw new Error(`${found.length} × ${kind} of ${component}`);
    return found[0];
  }

  pod(component) {
    const { spec, metadata } = this.one('Deployment', component).spec.template;
    return { spec, metadata, container: spec.containers[0] };
  }
}

/** The image of a component as deploy/Dockerfile makes it: its name, and its entry point. */
export function built(component) {
  const stage = read('deploy/Dockerfile').split(/^FROM /m).find((text) => text.split('\n')[0].endsWith(` AS ${component}`));
  if (!stage) throw new Error(`deploy/Dockerfile has no target ${component}`);
  const [, name] = stage.match(/image\.title="([^"]+)"/);
  return { name, entryPoint: JSON.parse(stage.match(/^ENTRYPOINT (\[.*\])$/m)[1]), copied: stage.match(/^COPY --from=\S+ \S+ (\S+)$/m)[1] };
}

export const COMPONENTS = ['gateway', 'presence-state', 'reaper'];

/** Whether a label selector chooses labels. */
export const selects = ({ matchLabels = {} }, labels) => Object.entries(matchLabels).every(([key, value]) => labels[key] === value);

/**
 * Whether a NetworkPolicy lets traffic pass. `peer` is `{namespace: labels, pod: labels}` or `{address}`, `port` a number
 * or the name of one.
 */
export function allows(policy, direction, peer, port, protocol = 'TCP') {
  const [rules, peers] = direction === 'in' ? [policy.spec.ingress, 'from'] : [policy.spec.egress, 'to'];
  const meets = ({ namespaceSelector, podSelector, ipBlock }) =>
    ipBlock ? peer.address !== undefined && ipBlock.cidr === `${peer.address}/32`
      : peer.address === undefined
        && (namespaceSelector ? selects(namespaceSelector, peer.namespace) : peer.namespace === undefined)
        && (!podSelector || selects(podSelector, peer.pod ?? {}));
  return rules.some((rule) =>
    (!rule[peers]?.length || rule[peers].some(meets))
    && (!rule.ports?.length || rule.ports.some((one) => one.port === port && (one.protocol ?? 'TCP') === protocol)));
}
