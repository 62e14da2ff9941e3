//! The list of metrics: every name, unit and label that Rollcall has, each made in one place. Durations are in seconds,
//! counters are monotonic and cumulative, identifiers are never labels. With no exporter configured each call is one
//! relaxed load.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{
    KeyValue, Value,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter},
};

pub use self::{operation::Operation, reading::Reading};

mod operation;
mod reading;
#[cfg(test)]
mod tests;

/// Boundaries of what shall be fast; the promise for heartbeats, 50 ms, is one of them.
const LATENCY: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Boundaries of how long a client stays.
const LIFETIME: [f64; 7] = [1.0, 10.0, 60.0, 600.0, 3_600.0, 14_400.0, 86_400.0];

struct List {
    meter: Meter,
    operation_total: Counter<u64>,
    operation_duration: Histogram<f64>,
    heartbeat_latency: Histogram<f64>,
    errors: Counter<u64>,
    connection_duration: Histogram<f64>,
    deliveries: Counter<u64>,
    gaps: Counter<u64>,
    audit_differences: Counter<u64>,
    evictions: Counter<u64>,
    history_changes: Counter<u64>,
    slow_readers: Counter<u64>,
    lock_wait: Histogram<f64>,
    events: Counter<u64>,
    command_duration: Histogram<f64>,
    conflicts: Counter<u64>,
    redis_duration: Histogram<f64>,
    cycle_duration: Histogram<f64>,
    scanned: Counter<u64>,
    rooms_changed: Counter<u64>,
    bus_lag: Histogram<f64>,
    resubscriptions: Counter<u64>,
    scheduling_lag: Histogram<f64>,
}

static LIST: OnceLock<List> = OnceLock::new();

/// What a gateway notes of each event of a client, and so without a look-up of labels.
struct Bound {
    operations: Vec<(BoundCounter<u64>, BoundHistogram<f64>)>,
    heartbeat_latency: BoundHistogram<f64>,
}

static BOUND: OnceLock<Bound> = OnceLock::new();

/// Makes every metric of `meter`.
pub(crate) fn bind(meter: Meter) {
    let counter = |name, unit, about| meter.u64_counter(name).with_unit(unit).with_description(about).build();
    let histogram = |name, about, boundaries: &[f64]| {
        let builder = meter.f64_histogram(name).with_unit("s").with_description(about);
        builder.with_boundaries(boundaries.to_vec()).build()
    };
    let latency = |name, about| histogram(name, about, &LATENCY);
    let list = List {
        operation_total: counter("presence.operation.total", "{operation}", "Events of clients that were answered."),
        operation_duration: latency("presence.operation.duration", "From a client's event to its answer."),
        heartbeat_latency: latency("presence.heartbeat.latency", "From a heartbeat to its answer."),
        errors: counter("presence.error.total", "{error}", "Refusals, by what was asked and the code of the answer."),
        connection_duration: histogram("presence.connection.duration", "How long sockets were connected.", &LIFETIME),
        deliveries: counter("presence.delivery.total", "{event}", "Events of rooms that were handed to sockets."),
        gaps: counter("presence.gap.total", "{gap}", "Repairs of rooms whose events may have been missed."),
        audit_differences: counter(
            "presence.audit.difference.total",
            "{room}",
            "Rooms in which an audit found that Redis and a gateway disagreed.",
        ),
        evictions: counter("presence.eviction.total", "{connection}", "Connections evicted, by reason."),
        history_changes: counter(
            "redis.history.change.total",
            "{change}",
            "Times that Redis was seen to be one that may have lost or changed data.",
        ),
        slow_readers: counter(
            "presence.slow_reader.total",
            "{connection}",
            "Sockets closed because they read too slowly.",
        ),
        lock_wait: latency("lock.wait.duration", "How long acquires took that had to wait."),
        events: counter("presence.event.total", "{event}", "Events that rooms published."),
        command_duration: latency(
            "presence.command.duration",
            "From a command's arrival to its answer, the queue included.",
        ),
        conflicts: counter(
            "metadata.conflict.total",
            "{conflict}",
            "Writes that met another revision than they expected.",
        ),
        redis_duration: latency("redis.command.duration", "From sending a command to Redis to its answer."),
        cycle_duration: latency("reaper.cycle.duration", "How long the reaper's cycles took."),
        scanned: counter("reaper.scanned.total", "{partition}", "Partitions that the reaper looked at."),
        rooms_changed: counter("reaper.rooms_changed.total", "{room}", "Rooms that the reaper's evictions changed."),
        bus_lag: latency("bus.lag", "From publishing to the own inbox to hearing it."),
        resubscriptions: counter(
            "bus.resubscription.total",
            "{subscription}",
            "Times that everything was subscribed anew.",
        ),
        scheduling_lag: latency("runtime.scheduling.lag", "How much later than asked a timer's task ran."),
        meter: meter.clone(),
    };
    list.resubscriptions.add(0, &[]);
    list.history_changes.add(0, &[]);
    let _ = LIST.set(list);
}

/// The reasons of evictions, as leaves name them.
const EXPIRED: &str = "expired";
const NODE_LOST: &str = "node_lost";

/// Faults of ours, by the codes that clients are answered.
const FAULTS: [&str; 4] = ["UNAVAILABLE", "TIMEOUT", "OVERLOADED", "INTERNAL"];

/// Tells what a gateway counts as zero from the start: a rate does not see the first count of what was never told.
pub fn begin_gateway() {
    let Some(list) = LIST.get() else { return };
    let operations = Operation::ALL.iter().map(|operation| {
        let label = [KeyValue::new("operation", operation.name())];
        (list.operation_total.bind(&label), list.operation_duration.bind(&label))
    });
    let heartbeat_latency = list.heartbeat_latency.bind(&[]);
    let _ = BOUND.set(Bound { operations: operations.collect(), heartbeat_latency });
    for operation in Operation::ALL {
        for fault in FAULTS {
            let labels = [KeyValue::new("operation", operation.name()), KeyValue::new("error_type", fault)];
            list.errors.add(0, &labels);
        }
    }
    list.evictions.add(0, &[KeyValue::new("reason", EXPIRED)]);
    list.audit_differences.add(0, &[]);
    list.gaps.add(0, &[]);
    list.slow_readers.add(0, &[]);
}

/// See [`begin_gateway`].
pub fn begin_state() {
    let Some(list) = LIST.get() else { return };
    list.evictions.add(0, &[KeyValue::new("reason", NODE_LOST)]);
    list.conflicts.add(0, &[]);
    for event in ["join", "update", "leave"] {
        list.events.add(0, &[KeyValue::new("event_type", event)]);
    }
}

/// See [`begin_gateway`].
pub fn begin_reaper() {
    let Some(list) = LIST.get() else { return };
    list.scanned.add(0, &[]);
    list.rooms_changed.add(0, &[]);
}

/// Has a value looked at before each export; `None` leaves it out.
pub fn observe(reading: Reading, value: impl Fn() -> Option<f64> + Send + Sync + 'static) {
    if let Some(list) = LIST.get() {
        reading::observe(&list.meter, reading, value);
    }
}

/// A client's event was answered.
pub fn operation(operation: Operation, took: Duration) {
    let Some(bound) = BOUND.get() else { return };
    let took = took.as_secs_f64();
    if let Some((total, duration)) = bound.operations.get(operation as usize) {
        total.add(1);
        duration.record(took);
    }
    if operation == Operation::Heartbeat {
        bound.heartbeat_latency.record(took);
    }
}

/// Something was refused; `kind` is the code of the answer.
pub fn error(operation: &'static str, kind: &'static str) {
    if let Some(list) = LIST.get() {
        list.errors.add(1, &[KeyValue::new("operation", operation), KeyValue::new("error_type", kind)]);
    }
}

/// A socket closed.
pub fn connection_ended(transport: &'static str, reason: &'static str, lived: Duration) {
    if let Some(list) = LIST.get() {
        let labels = [KeyValue::new("transport", transport), KeyValue::new("reason", reason)];
        list.connection_duration.record(lived.as_secs_f64(), &labels);
    }
}

/// An event of a room was handed to `recipients` sockets.
pub fn delivered(event: &'static str, recipients: usize) {
    if let Some(list) = LIST.get() {
        list.deliveries.add(recipients as u64, &[KeyValue::new("event_type", event)]);
    }
}

/// An audit found that Redis and this gateway disagreed about `differing` rooms. Counted by the gateway that asked.
pub fn audited(differing: u64) {
    if let Some(list) = LIST.get() {
        list.audit_differences.add(differing, &[]);
    }
}

/// This instance noticed that Redis may have lost or changed data: another replication id, a silence or a new connection,
/// moved slots, or a clock step. Its own start does not count.
pub fn history_changed() {
    if let Some(list) = LIST.get() {
        list.history_changes.add(1, &[]);
    }
}

/// A room is repaired.
pub fn gap() {
    if let Some(list) = LIST.get() {
        list.gaps.add(1, &[]);
    }
}

/// A socket is closed because its client reads too slowly.
pub fn slow_reader() {
    if let Some(list) = LIST.get() {
        list.slow_readers.add(1, &[]);
    }
}

/// Somebody waited for a lock.
pub fn lock_waited(granted: bool, took: Duration) {
    if let Some(list) = LIST.get() {
        let outcome = if granted { "granted" } else { "refused" };
        list.lock_wait.record(took.as_secs_f64(), &[KeyValue::new("outcome", outcome)]);
    }
}

/// A room published `count` events.
pub fn published(event: &'static str, count: u64) {
    if let Some(list) = LIST.get().filter(|_| count > 0) {
        list.events.add(count, &[KeyValue::new("event_type", event)]);
    }
}

/// A command was answered: what it is about (`presence`, `metadata`, `lock`) and its verb.
pub fn command(about: &'static str, verb: &'static str, took: Duration) {
    if let Some(list) = LIST.get() {
        let name: Value = if about == "presence" { verb.into() } else { format!("{about}.{verb}").into() };
        list.command_duration.record(took.as_secs_f64(), &[KeyValue::new("command", name)]);
    }
}

/// A write met another revision than it expected.
pub fn metadata_conflict() {
    if let Some(list) = LIST.get() {
        list.conflicts.add(1, &[]);
    }
}

/// Redis answered a command, `script` where it was one.
pub fn redis(command: &'static str, script: &'static str, took: Duration) {
    if let Some(list) = LIST.get() {
        let labels = [KeyValue::new("command", command), KeyValue::new("script", script)];
        list.redis_duration.record(took.as_secs_f64(), &labels);
    }
}

/// The reaper finished a cycle: it looked at `scanned` partitions, and its evictions changed `rooms_changed` rooms.
pub fn reaper_cycle(took: Duration, scanned: u64, rooms_changed: u64) {
    if let Some(list) = LIST.get() {
        list.cycle_duration.record(took.as_secs_f64(), &[]);
        list.scanned.add(scanned, &[]);
        list.rooms_changed.add(rooms_changed, &[]);
    }
}

/// Connections were evicted. Counted once, by the service that decides: `expired` by the gateway (heartbeat mode),
/// `node_lost` by presence-state, whether a reap, a join or a snapshot led to it. The reaper counts none.
pub fn evicted(reason: &'static str, count: u64) {
    if let Some(list) = LIST.get().filter(|_| count > 0) {
        list.evictions.add(count, &[KeyValue::new("reason", reason)]);
    }
}

/// The own inbox was heard so long after it was written to.
pub fn bus_lag(took: Duration) {
    if let Some(list) = LIST.get() {
        list.bus_lag.record(took.as_secs_f64(), &[]);
    }
}

/// Everything was subscribed anew.
pub fn resubscribed() {
    if let Some(list) = LIST.get() {
        list.resubscriptions.add(1, &[]);
    }
}

/// A task ran so much later than its timer asked.
pub fn scheduling_lag(late: Duration) {
    if let Some(list) = LIST.get() {
        list.scheduling_lag.record(late.as_secs_f64(), &[]);
    }
}
