// Records the trace of one join for docs/img/join.svg: two gateways with a member each, a presence-state and a reaper on a Redis of
// their own, and a receiver of OTLP. Of many joins it takes the one whose duration is the median. Needs the tests' packages (npm ci in
// tests) and a release build (./dev up makes one).
//   node scripts/trace-join.mjs >docs/img/join.trace.json && node scripts/draw-join.mjs docs/img/join.trace.json >docs/img/join.svg
import { setTimeout } from 'node:timers/promises';

import { OtlpReceiver } from '../tests/harness/otlp.mjs';
import { GATEWAY, System } from '../tests/harness/system.mjs';

// The first calls of a process are slower than all later ones.
const WARM_UPS = 200;
const JOINS = 201;

const otlp = await OtlpReceiver.start();
const system = await System.start({ gateways: 2, env: { ...otlp.env, DEPLOYMENT_ENVIRONMENT: 'development' } });
try {
  const [ann, ben, cat] = [await system.connect(0), await system.connect(1), await system.connect(0)];
  await ben.join('lobby', 'ben');
  await cat.join('lobby', 'cat');
  for (let n = 0; n < WARM_UPS + JOINS; n += 1) {
    await ann.join('lobby', 'ann', { typing: false });
    await ann.leave();
  }
  // Everything has been exported by then (every 100 ms).
  await setTimeout(2000);
  const joins = otlp.spans.filter(({ name, attributes }) => name === 'socket presence:join' && attributes['presence.user_id'] === 'ann');
  const { traceId } = joins.slice(WARM_UPS).sort((a, b) => length(a) - length(b))[Math.floor(JOINS / 2)];
  const trace = shorten(otlp.spans.filter((span) => span.traceId === traceId));
  process.stdout.write(`[\n${trace.map((span) => `  ${JSON.stringify(span)}`).join(',\n')}\n]\n`);
} finally {
  await system.close();
  otlp.close();
}

function length({ startMs, endMs }) {
  return endMs - startMs;
}

// In the order in which they began: name, service, the place of the parent in this list, start and duration in microseconds.
function shorten(spans) {
  const ordered = [...spans].sort((a, b) => a.startMs - b.startMs || b.endMs - a.endMs);
  const gateways = [...new Set(ordered.filter(({ service }) => service === GATEWAY).map(instance))];
  return ordered.map((span) => ({
    name: span.name,
    service: span.service === GATEWAY ? `gateway ${gateways.indexOf(instance(span)) + 1}` : span.service,
    parent: span.parentId ? ordered.findIndex(({ spanId }) => spanId === span.parentId) : null,
    start_us: Math.round((span.startMs - ordered[0].startMs) * 1000),
    duration_us: Math.round(length(span) * 1000),
  }));
}

function instance(span) {
  return span.resource['service.instance.id'];
}
