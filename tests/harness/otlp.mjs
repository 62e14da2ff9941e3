// A receiver of traces as any collector would be: OTLP over HTTP, protobuf. It decodes what tests look at, keeps the
// bytes for what must never be in them, and lets a test wait for spans. Field numbers are those of the
// opentelemetry-proto definitions (trace/v1, resource/v1, common/v1).
import { once } from 'node:events';
import { createServer } from 'node:http';
import { gunzipSync } from 'node:zlib';

import { fields, first, each } from './protobuf.mjs';
import { until } from './until.mjs';

const KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'];
const STATUSES = ['UNSET', 'OK', 'ERROR'];

const text = (bytes) => bytes?.toString('utf8') ?? '';
const hex = (bytes) => bytes?.toString('hex') ?? '';

// common.v1.AnyValue: string 1, bool 2, int 3, double 4, array 5
function readValue(bytes) {
  const [[number, value] = []] = fields(bytes);
  switch (number) {
    case undefined: return null;
    case 1: return text(value);
    case 2: return value === 1n;
    case 3: return Number(BigInt.asIntN(64, value));
    case 4: return value.readDoubleLE();
    case 5: return each(value, 1).map(readValue);
    default: throw new Error(`an attribute of a kind that the tests do not know: ${number}`);
  }
}

// common.v1.KeyValue: key 1, value 2
function readAttributes(list) {
  return Object.fromEntries(list.map((bytes) => [text(first(bytes, 1)), readValue(first(bytes, 2))]));
}

// trace.v1.Span: trace_id 1, span_id 2, parent_span_id 4, name 5, kind 6, start 7, end 8, attributes 9, events 11,
// links 13, status 15; Link: trace_id 1, span_id 2; Event: name 2; Status: code 3
function readSpan(bytes, resource) {
  const status = first(bytes, 15);
  return {
    resource,
    service: resource['service.name'],
    traceId: hex(first(bytes, 1)),
    spanId: hex(first(bytes, 2)),
    parentId: hex(first(bytes, 4)),
    name: text(first(bytes, 5)),
    kind: KINDS[Number(first(bytes, 6) ?? 0n)],
    attributes: readAttributes(each(bytes, 9)),
    events: each(bytes, 11).map((event) => text(first(event, 2))),
    links: each(bytes, 13).map((link) => ({ traceId: hex(first(link, 1)), spanId: hex(first(link, 2)) })),
    status: STATUSES[Number((status && first(status, 3)) ?? 0n)],
  };
}

// ExportTraceServiceRequest: resource_spans 1; ResourceSpans: resource 1, scope_spans 2; ScopeSpans: spans 2
export function readSpans(request) {
  return each(request, 1).flatMap((resourceSpans) => {
    const resource = readAttributes(each(first(resourceSpans, 1), 1));
    return each(resourceSpans, 2).flatMap((scope) => each(scope, 2).map((span) => readSpan(span, resource)));
  });
}

export class OtlpReceiver {
  spans = [];
  unreadable = null; // the error of a request that could not be read
  bytes = Buffer.alloc(0); // everything received, for "this must never be told"

  static async start() {
    const receiver = new OtlpReceiver();
    receiver.server.listen(0, '127.0.0.1');
    await once(receiver.server, 'listening');
    return receiver;
  }

  constructor() {
    this.server = createServer(async (request, response) => {
      try {
        await this.#receive(request);
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      } catch (error) {
        this.unreadable = error;
        response.writeHead(400).end();
      }
    });
  }

  // The environment that makes a service export to here, quickly.
  get env() {
    return {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.server.address().port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    };
  }

  // Waits for the first span that `pick` wants.
  span(what, pick, within = 10_000) {
    return until(`the span ${what}`, () => {
      if (this.unreadable) throw this.unreadable;
      return this.spans.find(pick);
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
    if (request.url === '/v1/traces') this.spans.push(...readSpans(message));
  }
}
