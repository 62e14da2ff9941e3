// What a collector would read out of an OTLP request, as far as tests look at it. Field numbers are those of the
// opentelemetry-proto definitions (trace/v1, metrics/v1, logs/v1, resource/v1, common/v1).
import { fields, first, each } from './protobuf.mjs';

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
    startMs: Number(first(bytes, 7).readBigUInt64LE()) / 1e6,
    attributes: readAttributes(each(bytes, 9)),
    events: each(bytes, 11).map((event) => text(first(event, 2))),
    links: each(bytes, 13).map((link) => ({ traceId: hex(first(link, 1)), spanId: hex(first(link, 2)) })),
    status: STATUSES[Number((status && first(status, 3)) ?? 0n)],
  };
}

// metrics.v1.NumberDataPoint: as_double 4, as_int 6, attributes 7
function readNumber(bytes) {
  const [double, int] = [first(bytes, 4), first(bytes, 6)];
  return { labels: readAttributes(each(bytes, 7)), value: double ? double.readDoubleLE() : Number(int.readBigInt64LE()) };
}

// metrics.v1.HistogramDataPoint: count 4, sum 5, bucket_counts 6, explicit_bounds 7, attributes 9
function readHistogram(bytes) {
  const bounds = first(bytes, 7) ?? Buffer.alloc(0);
  return {
    labels: readAttributes(each(bytes, 9)),
    value: Number(first(bytes, 4)?.readBigUInt64LE() ?? 0n), // a zero is not written
    sum: first(bytes, 5)?.readDoubleLE() ?? 0,
    bounds: Array.from({ length: bounds.length / 8 }, (_, index) => bounds.readDoubleLE(index * 8)),
  };
}

// metrics.v1.Metric: name 1, description 2, unit 3, gauge 5, sum 7, histogram 9; in each: data_points 1,
// aggregation_temporality 2 (2 is cumulative); Sum: is_monotonic 3
function readMetric(bytes, resource) {
  const [gauge, sum, histogram] = [first(bytes, 5), first(bytes, 7), first(bytes, 9)];
  const data = gauge ?? sum ?? histogram;
  return {
    service: resource['service.name'],
    instance: resource['service.instance.id'],
    name: text(first(bytes, 1)),
    description: text(first(bytes, 2)),
    unit: text(first(bytes, 3)),
    kind: gauge ? 'gauge' : histogram ? 'histogram' : first(sum, 3) === 1n ? 'counter' : 'sum',
    cumulative: gauge ? null : first(data, 2) === 2n,
    points: each(data, 1).map(histogram ? readHistogram : readNumber),
  };
}

// logs.v1.LogRecord: severity_number 2, severity_text 3, body 5, attributes 6, trace_id 9, span_id 10
function readLine(bytes, resource) {
  return {
    resource,
    service: resource['service.name'],
    level: text(first(bytes, 3)),
    severity: Number(first(bytes, 2) ?? 0n),
    message: readValue(first(bytes, 5)),
    attributes: readAttributes(each(bytes, 6)),
    traceId: hex(first(bytes, 9)),
    spanId: hex(first(bytes, 10)),
  };
}

// All three requests have one shape: resource_* 1, in it resource 1 and scope_* 2, in that the items 2.
function items(request, read) {
  return each(request, 1).flatMap((part) => {
    const resource = readAttributes(each(first(part, 1), 1));
    return each(part, 2).flatMap((scope) => each(scope, 2).map((item) => read(item, resource)));
  });
}

export const readSpans = (request) => items(request, readSpan);
export const readMetrics = (request) => items(request, readMetric);
export const readLines = (request) => items(request, readLine);
