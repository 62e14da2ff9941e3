// A receiver of traces, metrics and logs as any collector would be: OTLP over HTTP, protobuf. It keeps the bytes for what
// must never be in them, and lets a test wait for what is exported. Below /otlp it takes them as Loki does.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { gunzipSync } from 'node:zlib';

import { readLines, readMetrics, readSpans } from './otlp-read.mjs';
import { until } from './until.mjs';

export class OtlpReceiver {
  spans = [];
  lines = [];
  metrics = new Map(); // the last value of each metric from each instance
  refuses = false; // answers 503, as a collector that is overloaded
  hangs = false; // takes requests and never answers
  unreadable = null; // the error of a request that could not be read
  bytes = Buffer.alloc(0); // everything received, for checks that something is never exported

  // With `tls`, {cert, key}, it is one over TLS, of the name localhost.
  static async start({ tls } = {}) {
    const receiver = new OtlpReceiver(tls);
    await receiver.listen(0);
    return receiver;
  }

  constructor(tls) {
    this.tls = tls;
    this.server = (tls ? createTlsServer.bind(null, tls) : createServer)(async (request, response) => {
      try {
        if (this.hangs) return;
        if (this.refuses) return response.writeHead(503).end();
        await this.#receive(request);
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      } catch (error) {
        this.unreadable = error;
        response.writeHead(400).end();
      }
    });
  }

  async listen(port) {
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
    this.url = this.tls ? `https://localhost:${this.port}` : `http://127.0.0.1:${this.port}`;
  }

  // The environment that makes a service export to here, quickly.
  get env() {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: this.url,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_BSP_SCHEDULE_DELAY: '100',
      OTEL_BLRP_SCHEDULE_DELAY: '100',
      OTEL_METRIC_EXPORT_INTERVAL: '200',
    };
  }

  // Waits for the first log line that `pick` wants.
  line(what, pick, within = 10_000) {
    return until(`the line ${what}`, () => {
      if (this.unreadable) throw this.unreadable;
      return this.lines.find(pick);
    }, { within });
  }

  // Waits for the first span that `pick` wants.
  span(what, pick, within = 10_000) {
    return until(`the span ${what}`, () => {
      if (this.unreadable) throw this.unreadable;
      return this.spans.find(pick);
    }, { within });
  }

  // The points of a metric whose labels include these, over all instances that are known.
  points(name, labels = {}) {
    const has = (point) => Object.entries(labels).every(([key, value]) => point.labels[key] === value);
    return [...this.metrics.values()].filter((metric) => metric.name === name).flatMap((metric) => metric.points.filter(has));
  }

  total(name, labels) {
    return this.points(name, labels).reduce((sum, point) => sum + point.value, 0);
  }

  // What the points of a metric add up to, once two exports or more have not changed it.
  async settles(name, labels, within = 15_000) {
    let [before, now] = [-1, -1];
    await until(`${name} ${JSON.stringify(labels)} to settle`, () => {
      [before, now] = [now, this.total(name, labels)];
      return now === before;
    }, { within, every: 1500 });
    return now;
  }

  // Waits until the points of a metric add up to a number.
  adds(name, labels, expected, within = 10_000) {
    return until(`${name} ${JSON.stringify(labels)} to be ${expected}`, () => {
      if (this.unreadable) throw this.unreadable;
      const total = this.total(name, labels);
      if (total !== expected) throw new Error(`it is ${total}`);
      return true;
    }, { within });
  }

  parentOf(span) {
    return this.spans.find((other) => other.traceId === span.traceId && other.spanId === span.parentId);
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async #receive(request) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const message = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
    this.bytes = Buffer.concat([this.bytes, message]);
    switch (request.url.replace(/^\/otlp/, '')) {
      case '/v1/traces': this.spans.push(...readSpans(message)); break;
      case '/v1/logs': this.lines.push(...readLines(message)); break;
      case '/v1/metrics':
        for (const metric of readMetrics(message)) this.metrics.set(`${metric.instance} ${metric.name}`, metric);
        break;
      default: throw new Error(`no handler for ${request.url}`);
    }
  }
}
