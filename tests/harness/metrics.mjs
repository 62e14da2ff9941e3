// Every metric that the services promise, as docs/reference/telemetry.md lists them: its name in OpenTelemetry, its series in
// Prometheus, and who has it. Histograms are named by their base: Prometheus has `_bucket`, `_sum` and `_count` of each.
import { read } from './repository.mjs';

const SERVICES = { gateway: 'presence-gateway', state: 'presence-state', reaper: 'presence-reaper' };

const named = (cell) => cell.match(/^`([^`]+)`$/)[1];

// | `name` | `series` | kind | labels | who | it is |
function readRow(row) {
  const [name, series, kind, , who] = row.split('|').slice(1).map((cell) => cell.trim());
  const services = who === 'all' ? Object.values(SERVICES) : who.split(', ').map((short) => SERVICES[short]);
  return { name: named(name), series: named(series), histogram: kind === 'histogram', services };
}

const page = read('docs/reference/telemetry.md');

export const METRICS = page.split('\n').filter((line) => /^\| `[a-z_.]+` \| `[a-z_]+` \| (counter|gauge|histogram) \|/.test(line)).map(readRow);
