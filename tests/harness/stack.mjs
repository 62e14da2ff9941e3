// The telemetry servers of a test's own: the real programs with our files, on free ports, and their query APIs. What is
// different from the files is said in one place each: addresses by variables, and time by text (`soon`).
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

import { Child, temporaryFolder } from './child.mjs';
import { JaegerApi, json } from './jaeger.mjs';
import { freePort } from './redis.mjs';
import { pathOf, read } from './repository.mjs';
import { until } from './until.mjs';

const TOOLS = process.env.ROLLCALL_TOOLS_DIR ?? pathOf('.dev/tools');
const START_MS = 60_000;

export const RULES = 'deploy/telemetry/prometheus/rules';
export const ruleFiles = () => (existsSync(pathOf(RULES)) ? readdirSync(pathOf(RULES)).filter((name) => name.endsWith('.yml')) : []);

// Minutes become seconds: no test waits five minutes for an alert.
const TIMES = /^(\s*(?:- )?(?:for|interval|keep_firing_for|(?:evaluation|scrape|refresh)_interval):\s*)\S+/gm;
export const soon = (yaml) => yaml.replace(TIMES, '$12s');

// Where links in alerts lead.
export const GRAFANA_URL = 'https://grafana.example.org';

// Loki is never built, only used where the user has it: why its tests are skipped, or false.
export const WITHOUT_LOKI = !existsSync(join(TOOLS, 'loki')) && 'Loki is neither on the PATH nor here as an image';

export function toolPath(name) {
  const path = join(TOOLS, name);
  if (!existsSync(path)) throw new Error(`${path} is missing: run ./dev test stack, which finds or builds the telemetry servers`);
  return path;
}

class Server {
  constructor(name, program, args, { env = {}, cwd, port, path }) {
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
    this.port = port;
    this.path = path;
    this.child = new Child(name, toolPath(program), args, { cwd, env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env } });
  }

  ready() {
    return until(`${this.name} to be ready`, async () => {
      if (this.child.exit) throw new Error(this.child.report());
      const response = await fetch(this.url + this.path, { signal: AbortSignal.timeout(2000) });
      await response.arrayBuffer();
      return response.ok;
    }, { within: START_MS, every: 100 });
  }

  get(path, params = {}) {
    return json(`${this.url}${path}?${new URLSearchParams(params)}`);
  }
}

class Jaeger extends Server {
  #api = new JaegerApi(this.url);

  traces(query) {
    return this.#api.traces(query);
  }

  trace(id) {
    return this.#api.trace(id);
  }

  find(what, query, pick, within) {
    return this.#api.find(what, query, pick, within);
  }
}

class Prometheus extends Server {
  // The result of an instant query: a list of {metric, value: [time, text]}.
  async query(expression) {
    const { data } = await json(`${this.url}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query: expression }) });
    return data.result;
  }

  async metricNames() {
    return (await this.get('/api/v1/label/__name__/values')).data;
  }

  async rules() {
    return (await this.get('/api/v1/rules')).data.groups.flatMap(({ file, rules }) => rules.map((rule) => ({ file, ...rule })));
  }

  has(expression, within = 30_000) {
    return until(`Prometheus to have ${expression}`, async () => {
      const result = await this.query(expression);
      return result.length > 0 && result;
    }, { within, every: 300 });
  }
}

class Loki extends Server {
  // Lines as {labels, line}: labels hold structured metadata too.
  async query(logql) {
    const { data } = await this.get('/loki/api/v1/query_range', { query: logql, limit: 200, since: '1h' });
    return data.resultType === 'streams'
      ? data.result.flatMap(({ stream, values }) => values.map(([, line]) => ({ labels: stream, line })))
      : data.result;
  }
}

// What Slack and PagerDuty would receive: every message posted, as JSON.
class Pager {
  slack = [];
  pagerDuty = [];

  static async start() {
    const pager = new Pager();
    pager.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const inbox = request.url.startsWith('/services/') ? pager.slack : pager.pagerDuty;
      inbox.push(JSON.parse(Buffer.concat(chunks).toString('utf8')));
      response.writeHead(inbox === pager.slack ? 200 : 202, { 'content-type': 'text/plain' }).end('ok');
    });
    pager.server.listen(0, '127.0.0.1');
    await once(pager.server, 'listening');
    return pager;
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

export class Stack {
  // `collector`: variables of otel-collector.yaml. Unset, traces are sampled as in production. `config`: what is different
  // from that file, as YAML. `logs`: the URL of a server that stands in for Loki. `redis`: with the file for Redis' own metrics.
  static async start({ collector = {}, config = '', secrets = true, logs, redis = false } = {}) {
    const stack = new Stack();
    try {
      await stack.#start(collector, config, secrets, logs, redis);
      return stack;
    } catch (error) {
      const report = stack.report();
      await stack.close();
      throw new Error(`the telemetry servers did not start\n${report}`, { cause: error });
    }
  }

  servers = [];

  async #start(collector, config, secrets, logs, redis) {
    const folder = temporaryFolder('stack');
    const ports = Object.fromEntries(await Promise.all(
      ['jaeger', 'jaegerOtlp', 'jaegerGrpc', 'prometheus', 'loki', 'lokiGrpc', 'alertmanager', 'http', 'grpc', 'health']
        .map(async (name) => [name, String(await freePort())])));
    this.pager = await Pager.start();

    this.jaeger = this.#add(new Jaeger('jaeger', 'jaeger', [`--config=${pathOf('deploy/telemetry/jaeger/jaeger.yaml')}`], {
      env: {
        JAEGER_HOST: '127.0.0.1', JAEGER_PORT: ports.jaeger, JAEGER_OTLP_PORT: ports.jaegerOtlp,
        JAEGER_QUERY_GRPC_PORT: ports.jaegerGrpc, JAEGER_DATA: join(folder, 'jaeger'),
      },
      port: ports.jaeger, path: '/api/services',
    }));
    if (!logs && !WITHOUT_LOKI) {
      this.loki = this.#add(new Loki('loki', 'loki', [`-config.file=${pathOf('deploy/telemetry/loki/loki.yaml')}`, '-config.expand-env=true'], {
        env: { LOKI_HOST: '127.0.0.1', LOKI_PORT: ports.loki, LOKI_GRPC_PORT: ports.lokiGrpc, LOKI_DATA: join(folder, 'loki') },
        port: ports.loki, path: '/ready',
      }));
    }
    const logsTo = logs ?? this.loki?.url;
    this.prometheus = this.#add(new Prometheus('prometheus', 'prometheus', [
      `--config.file=${this.#prometheusFiles(join(folder, 'prometheus'), ports.alertmanager)}`,
      `--storage.tsdb.path=${join(folder, 'tsdb')}`, `--web.listen-address=127.0.0.1:${ports.prometheus}`,
      '--web.enable-otlp-receiver', '--enable-feature=exemplar-storage', '--log.level=warn',
    ], { port: ports.prometheus, path: '/-/ready', env: { GRAFANA_URL } }));
    this.edges = join(folder, 'prometheus/edges.yml');
    this.alertmanager = this.#add(new Server('alertmanager', 'alertmanager', [
      `--config.file=${this.#alertmanagerFiles(join(folder, 'alertmanager'), secrets)}`,
      `--storage.path=${join(folder, 'alertmanager/data')}`, `--web.listen-address=127.0.0.1:${ports.alertmanager}`,
      '--cluster.listen-address=',
    ], { cwd: join(folder, 'alertmanager'), port: ports.alertmanager, path: '/-/ready' }));
    const ofRedis = redis ? [pathOf('deploy/telemetry/collector/redis.yaml')] : [];
    const files = [pathOf('otel-collector.yaml'), ...ofRedis, ...(config ? [`yaml:${config}`] : [])];
    this.collector = this.#add(new Server('collector', 'otelcol-contrib', files.map((file) => `--config=${file}`), {
      env: {
        COLLECTOR_HOST: '127.0.0.1', COLLECTOR_HTTP_PORT: ports.http, COLLECTOR_GRPC_PORT: ports.grpc,
        COLLECTOR_HEALTH_PORT: ports.health, COLLECTOR_DECISION_WAIT: '3s', COLLECTOR_FLUSH_INTERVAL: '1s', COLLECTOR_FLUSH_MS: '1000',
        JAEGER_OTLP: `127.0.0.1:${ports.jaegerOtlp}`, PROMETHEUS_URL: this.prometheus.url,
        ...(logsTo ? { LOKI_URL: logsTo } : { COLLECTOR_LOGS_EXPORTER: 'nop' }), ...collector,
      },
      port: ports.health, path: '/',
    }));
    this.otlpUrl = `http://127.0.0.1:${ports.http}`;
    await Promise.all(this.servers.map((server) => server.ready()));
  }

  // What makes services export to here, quickly.
  get env() {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: this.otlpUrl, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_BSP_SCHEDULE_DELAY: '200', OTEL_BLRP_SCHEDULE_DELAY: '200', OTEL_METRIC_EXPORT_INTERVAL: '1000',
    };
  }

  // Has Prometheus ask the metrics of an edge, HOST:PORT. Until then there is none.
  watchEdge(address) {
    writeFileSync(this.edges, `- targets: ['${address}']\n`);
  }

  async close() {
    await Promise.all(this.servers.map(({ child }) => child.kill()));
    this.pager?.close();
  }

  report() {
    return this.servers.map(({ child }) => child.report()).join('\n');
  }

  #add(server) {
    this.servers.push(server);
    return server;
  }

  #prometheusFiles(folder, alertmanagerPort) {
    mkdirSync(join(folder, 'rules'), { recursive: true });
    writeFileSync(join(folder, 'prometheus.yml'), soon(read('deploy/telemetry/prometheus/prometheus.yml')));
    writeFileSync(join(folder, 'alertmanagers.yml'), `- targets: ['127.0.0.1:${alertmanagerPort}']\n`);
    for (const name of ruleFiles()) writeFileSync(join(folder, 'rules', name), soon(read(`${RULES}/${name}`)));
    return join(folder, 'prometheus.yml');
  }

  // PagerDuty has one address for all; its integration keys differ.
  #alertmanagerFiles(folder, secrets) {
    mkdirSync(join(folder, 'secrets'), { recursive: true });
    const global = `global:\n  pagerduty_url: ${this.pager.url}/v2/enqueue\n`;
    writeFileSync(join(folder, 'alertmanager.yml'), global + read('deploy/telemetry/alertmanager/alertmanager.yml'));
    if (secrets) {
      writeFileSync(join(folder, 'secrets/slack_api_url'), `${this.pager.url}/services/T0/B0/x`);
      writeFileSync(join(folder, 'secrets/pagerduty_routing_key'), 'key-of-a-service');
    }
    return join(folder, 'alertmanager.yml');
  }
}
