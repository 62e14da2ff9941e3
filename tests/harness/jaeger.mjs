// What a Jaeger is asked, wherever it runs, and its answers as plain values.
import { until } from './until.mjs';

export async function json(url, options) {
  const response = await fetch(url, { signal: AbortSignal.timeout(20_000), ...options });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} was answered ${response.status}: ${text.slice(0, 500)}`);
  return JSON.parse(text);
}

// A span as Jaeger returns it, with its tags and references as plain values.
function readSpan(span, processes) {
  const tags = (list) => Object.fromEntries((list ?? []).map(({ key, value }) => [key, value]));
  const process = processes[span.processID];
  return {
    traceId: span.traceID,
    spanId: span.spanID,
    parentId: span.references?.find(({ refType, traceID }) => refType === 'CHILD_OF' && traceID === span.traceID)?.spanID ?? '',
    name: span.operationName,
    durationMs: span.duration / 1000,
    tags: tags(span.tags),
    logs: (span.logs ?? []).map(({ fields }) => tags(fields)),
    service: process.serviceName,
    resource: tags(process.tags),
  };
}

export class JaegerApi {
  constructor(url) {
    this.url = url;
  }

  // Traces, each a list of its spans. `tags` are sought in any span of the trace's service.
  async traces({ service = 'presence-gateway', tags, limit = 20, ...more }) {
    const query = { service, limit, ...(tags && { tags: JSON.stringify(tags) }), lookback: '1h', ...more };
    const { data } = await json(`${this.url}/api/traces?${new URLSearchParams(query)}`);
    return (data ?? []).map(({ spans, processes }) => spans.map((span) => readSpan(span, processes)));
  }

  async trace(id) {
    const { data } = await json(`${this.url}/api/traces/${id}`);
    return data[0].spans.map((span) => readSpan(span, data[0].processes));
  }

  // Waits for the first trace that is found so and that `pick` accepts.
  find(what, query, pick = () => true, within = 30_000) {
    return until(`Jaeger to find ${what}`, async () => (await this.traces(query)).find(pick), { within, every: 300 });
  }
}
