//! The list of metrics: every name, unit and label, each in one place. Durations are in seconds, counters are monotonic and
//! cumulative, identifiers are never labels. Without an exporter each call is one relaxed load.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{
    KeyValue, Value,
    metrics::{BoundCounter, BoundHistogram, Meter},
};

use self::instruments::Instruments;
pub use self::{operation::Operation, reading::Reading, refusal::Refusal};

mod instruments;
mod operation;
mod reading;
mod refusal;
#[cfg(test)]
mod tests;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// Instruments with their labels resolved, for what a gateway records on every event of a client.
struct Bound {
    operations: Vec<(BoundCounter<u64>, BoundHistogram<f64>)>,
    heartbeat_latency: BoundHistogram<f64>,
}

static BOUND: OnceLock<Bound> = OnceLock::new();

/// Creates every metric with `meter`.
pub(crate) fn bind(meter: Meter) {
    let instruments = Instruments::new(meter);
    instruments.resubscriptions.add(0, &[]);
    instruments.history_changes.add(0, &[]);
    let _ = INSTRUMENTS.set(instruments);
}

/// The reasons of evictions, as in leave events.
const EXPIRED: &str = "expired";
const NODE_LOST: &str = "node_lost";

/// The error codes that are faults of the service, not of the client.
const FAULTS: [&str; 4] = ["UNAVAILABLE", "TIMEOUT", "OVERLOADED", "INTERNAL"];

/// Reports the gateway's counters as 0 from the start. Without it, `rate()` misses the first increment of a new series.
pub fn begin_gateway() {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let operations = Operation::ALL.iter().map(|operation| {
        let label = [KeyValue::new("operation", operation.name())];
        (instruments.operation_total.bind(&label), instruments.operation_duration.bind(&label))
    });
    let heartbeat_latency = instruments.heartbeat_latency.bind(&[]);
    let _ = BOUND.set(Bound { operations: operations.collect(), heartbeat_latency });
    for operation in Operation::ALL {
        for fault in FAULTS {
            let labels = [KeyValue::new("operation", operation.name()), KeyValue::new("error_type", fault)];
            instruments.errors.add(0, &labels);
        }
    }
    instruments.evictions.add(0, &[KeyValue::new("reason", EXPIRED)]);
    instruments.audit_differences.add(0, &[]);
    instruments.gaps.add(0, &[]);
    instruments.slow_readers.add(0, &[]);
    for refusal in Refusal::ALL.into_iter().filter(|refusal| *refusal != Refusal::StoreMemory) {
        instruments.refused.add(0, &[KeyValue::new("reason", refusal.name())]);
    }
    instruments.pending_dropped.add(0, &[]);
}

/// As [`begin_gateway`], for presence-state.
pub fn begin_state() {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.evictions.add(0, &[KeyValue::new("reason", NODE_LOST)]);
    instruments.conflicts.add(0, &[]);
    instruments.refused.add(0, &[KeyValue::new("reason", Refusal::StoreMemory.name())]);
    for event in ["join", "update", "leave"] {
        instruments.events.add(0, &[KeyValue::new("event_type", event)]);
    }
}

/// As [`begin_gateway`], for the reaper.
pub fn begin_reaper() {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    instruments.scanned.add(0, &[]);
    instruments.rooms_changed.add(0, &[]);
}

/// Registers a value that is read before each export; `None` skips it.
pub fn observe(reading: Reading, value: impl Fn() -> Option<f64> + Send + Sync + 'static) {
    if let Some(instruments) = INSTRUMENTS.get() {
        reading::observe(&instruments.meter, reading, value);
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

/// A client's event was rejected; `kind` is the code of the answer.
pub fn error(operation: &'static str, kind: &'static str) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.errors.add(1, &[KeyValue::new("operation", operation), KeyValue::new("error_type", kind)]);
    }
}

/// A client joined a room that has `members` now.
pub fn joined_room(members: usize) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.room_size.record(members as u64, &[]);
    }
}

/// A socket closed.
pub fn connection_ended(transport: &'static str, reason: &'static str, lived: Duration) {
    if let Some(instruments) = INSTRUMENTS.get() {
        let labels = [KeyValue::new("transport", transport), KeyValue::new("reason", reason)];
        instruments.connection_duration.record(lived.as_secs_f64(), &labels);
    }
}

/// An event of a room was handed to `recipients` sockets.
pub fn delivered(event: &'static str, recipients: usize) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.deliveries.add(recipients as u64, &[KeyValue::new("event_type", event)]);
    }
}

/// An audit found that Redis and this gateway disagreed about `differing` rooms. Counted by the gateway.
pub fn audited(differing: u64) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.audit_differences.add(differing, &[]);
    }
}

/// This process noticed that Redis may have lost or changed data: another replication id, a silence or a new connection,
/// moved slots, or a clock step. Its own start does not count.
pub fn history_changed() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.history_changes.add(1, &[]);
    }
}

/// A repair of a room began.
pub fn gap() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.gaps.add(1, &[]);
    }
}

/// A socket was closed because its client reads too slowly.
pub fn slow_reader() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.slow_readers.add(1, &[]);
    }
}

/// A client was refused something that its token or a budget does not allow.
pub fn refused(refusal: Refusal) {
    refused_times(refusal, 1);
}

/// Clients were refused something so many times.
pub fn refused_times(refusal: Refusal, times: u64) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.refused.add(times, &[KeyValue::new("reason", refusal.name())]);
    }
}

/// A leave or a lock release was dropped because too many were pending.
pub fn pending_dropped() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.pending_dropped.add(1, &[]);
    }
}

/// A client waited for a lock.
pub fn lock_waited(granted: bool, took: Duration) {
    if let Some(instruments) = INSTRUMENTS.get() {
        let outcome = if granted { "granted" } else { "refused" };
        instruments.lock_wait.record(took.as_secs_f64(), &[KeyValue::new("outcome", outcome)]);
    }
}

/// A room published `count` events.
pub fn published(event: &'static str, count: u64) {
    if let Some(instruments) = INSTRUMENTS.get().filter(|_| count > 0) {
        instruments.events.add(count, &[KeyValue::new("event_type", event)]);
    }
}

/// A command was answered. `about` is its subject: `presence`, `metadata` or `lock`.
pub fn command(about: &'static str, verb: &'static str, took: Duration) {
    if let Some(instruments) = INSTRUMENTS.get() {
        let name: Value = if about == "presence" { verb.into() } else { format!("{about}.{verb}").into() };
        instruments.command_duration.record(took.as_secs_f64(), &[KeyValue::new("command", name)]);
    }
}

/// A write expected another revision than the stored one.
pub fn metadata_conflict() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.conflicts.add(1, &[]);
    }
}

/// Redis answered a command; `script` is empty unless it was a script.
pub fn redis(command: &'static str, script: &'static str, took: Duration) {
    if let Some(instruments) = INSTRUMENTS.get() {
        let labels = [KeyValue::new("command", command), KeyValue::new("script", script)];
        instruments.redis_duration.record(took.as_secs_f64(), &labels);
    }
}

/// The reaper finished a cycle: it looked at `scanned` partitions, and its evictions changed `rooms_changed` rooms.
pub fn reaper_cycle(took: Duration, scanned: u64, rooms_changed: u64) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.cycle_duration.record(took.as_secs_f64(), &[]);
        instruments.scanned.add(scanned, &[]);
        instruments.rooms_changed.add(rooms_changed, &[]);
    }
}

/// Connections were evicted. Each is counted once, by the service that decides: `expired` by the gateway (heartbeat mode),
/// `node_lost` by presence-state, whether a reap, a join or a snapshot led to it. The reaper counts none.
pub fn evicted(reason: &'static str, count: u64) {
    if let Some(instruments) = INSTRUMENTS.get().filter(|_| count > 0) {
        instruments.evictions.add(count, &[KeyValue::new("reason", reason)]);
    }
}

/// How long a message that a process published to its own inbox took to arrive.
pub fn bus_lag(took: Duration) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.bus_lag.record(took.as_secs_f64(), &[]);
    }
}

/// All subscriptions were renewed.
pub fn resubscribed() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.resubscriptions.add(1, &[]);
    }
}

/// How much later than its timer a task ran.
pub fn scheduling_lag(late: Duration) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.scheduling_lag.record(late.as_secs_f64(), &[]);
    }
}
