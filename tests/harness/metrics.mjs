// Every metric that the services promise: its name in OpenTelemetry, its series in Prometheus, and who has it. Histograms
// are named by their base: Prometheus has `_bucket`, `_sum` and `_count` of each.
const GATEWAY = ['presence-gateway'];
const STATE = ['presence-state'];
const REAPER = ['presence-reaper'];
const ALL = [...GATEWAY, ...STATE, ...REAPER];

const histogram = (name, services) => ({ name, services, series: `${underscored(name)}_seconds`, histogram: true });
const counter = (name, services, series = underscored(name)) => ({ name, services, series });
const gauge = counter;

function underscored(name) {
  return name.replaceAll('.', '_');
}

export const METRICS = [
  gauge('presence.connections.active', GATEWAY),
  histogram('presence.connection.duration', GATEWAY),
  counter('presence.operation.total', GATEWAY),
  histogram('presence.operation.duration', GATEWAY),
  histogram('presence.heartbeat.latency', GATEWAY),
  counter('presence.error.total', GATEWAY),
  counter('presence.delivery.total', GATEWAY),
  histogram('presence.touch.duration', GATEWAY),
  counter('presence.gap.total', GATEWAY),
  counter('presence.slow_reader.total', GATEWAY),
  histogram('lock.wait.duration', GATEWAY),
  gauge('lock.held', GATEWAY),
  gauge('lock.waiting', GATEWAY),
  counter('presence.event.total', STATE),
  histogram('presence.command.duration', STATE),
  gauge('presence.commands.waiting', STATE),
  counter('metadata.conflict.total', STATE),
  histogram('redis.command.duration', ALL),
  gauge('presence.rooms.active', REAPER),
  histogram('reaper.cycle.duration', REAPER),
  counter('reaper.scanned.total', REAPER),
  counter('reaper.rooms_changed.total', REAPER),
  counter('reaper.evicted.total', REAPER),
  gauge('reaper.lag', REAPER, 'reaper_lag_seconds'),
  histogram('bus.lag', ALL),
  gauge('bus.requests.pending', [...GATEWAY, ...REAPER]),
  gauge('bus.subscription.deaf', ALL),
  counter('bus.resubscription.total', ALL),
  gauge('redis.up', ALL),
  counter('process.cpu.time', ALL, 'process_cpu_time_seconds_total'),
  gauge('process.memory.usage', ALL, 'process_memory_usage_bytes'),
  gauge('process.open_file_descriptor.count', ALL),
  gauge('process.uptime', ALL, 'process_uptime_seconds'),
  histogram('runtime.scheduling.lag', ALL),
  gauge('runtime.queue.depth', ALL),
  gauge('runtime.tasks.alive', ALL),
  gauge('runtime.busy.ratio', ALL),
  counter('telemetry.dropped.total', ALL),
  gauge('telemetry.queue.depth', ALL),
];
