//! Counters and histograms: name, unit, description and boundaries of each.

use opentelemetry::metrics::{Counter, Histogram, Meter};

/// Boundaries in seconds. The latency target of heartbeats, 50 ms, is one of them.
const LATENCY: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Boundaries in seconds of how long a client stays.
const LIFETIME: [f64; 7] = [1.0, 10.0, 60.0, 600.0, 3_600.0, 14_400.0, 86_400.0];

/// Boundaries in members of a room.
const MEMBERS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 5_000.0, 10_000.0];

/// Every instrument, created once.
pub(super) struct Instruments {
    pub(super) meter: Meter,
    pub(super) operation_total: Counter<u64>,
    pub(super) operation_duration: Histogram<f64>,
    pub(super) heartbeat_latency: Histogram<f64>,
    pub(super) errors: Counter<u64>,
    pub(super) room_size: Histogram<u64>,
    pub(super) connection_duration: Histogram<f64>,
    pub(super) deliveries: Counter<u64>,
    pub(super) gaps: Counter<u64>,
    pub(super) audit_differences: Counter<u64>,
    pub(super) evictions: Counter<u64>,
    pub(super) history_changes: Counter<u64>,
    pub(super) slow_readers: Counter<u64>,
    pub(super) refused: Counter<u64>,
    pub(super) pending_dropped: Counter<u64>,
    pub(super) lock_wait: Histogram<f64>,
    pub(super) events: Counter<u64>,
    pub(super) command_duration: Histogram<f64>,
    pub(super) conflicts: Counter<u64>,
    pub(super) redis_duration: Histogram<f64>,
    pub(super) cycle_duration: Histogram<f64>,
    pub(super) scanned: Counter<u64>,
    pub(super) rooms_changed: Counter<u64>,
    pub(super) bus_lag: Histogram<f64>,
    pub(super) resubscriptions: Counter<u64>,
    pub(super) scheduling_lag: Histogram<f64>,
}

impl Instruments {
    /// Creates every instrument with `meter`.
    pub(super) fn new(meter: Meter) -> Self {
        let counter = |name, unit, about| meter.u64_counter(name).with_unit(unit).with_description(about).build();
        let histogram = |name, about, boundaries: &[f64]| {
            let builder = meter.f64_histogram(name).with_unit("s").with_description(about);
            builder.with_boundaries(boundaries.to_vec()).build()
        };
        let latency = |name, about| histogram(name, about, &LATENCY);
        Self {
            operation_total: counter(
                "presence.operation.total",
                "{operation}",
                "Events of clients that were answered.",
            ),
            operation_duration: latency("presence.operation.duration", "From a client's event to its answer."),
            heartbeat_latency: latency("presence.heartbeat.latency", "From a heartbeat to its answer."),
            errors: counter("presence.error.total", "{error}", "Rejections, by operation and code of the answer."),
            room_size: meter
                .u64_histogram("presence.room.size")
                .with_unit("{member}")
                .with_description("Members of a room after a join, the one that joined included.")
                .with_boundaries(MEMBERS.to_vec())
                .build(),
            connection_duration: histogram(
                "presence.connection.duration",
                "How long sockets were connected.",
                &LIFETIME,
            ),
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
                "Times that Redis may have lost or changed data.",
            ),
            slow_readers: counter(
                "presence.slow_reader.total",
                "{connection}",
                "Sockets closed because they read too slowly.",
            ),
            refused: counter(
                "presence.refused.total",
                "{refusal}",
                "What was refused, by the permission or the budget that did not allow it.",
            ),
            pending_dropped: counter(
                "presence.pending.dropped.total",
                "{command}",
                "Leaves and lock releases dropped because too many were pending.",
            ),
            lock_wait: latency("lock.wait.duration", "How long acquires that had to wait took."),
            events: counter("presence.event.total", "{event}", "Events that rooms published."),
            command_duration: latency(
                "presence.command.duration",
                "From a command's arrival to its answer, the queue included.",
            ),
            conflicts: counter(
                "metadata.conflict.total",
                "{conflict}",
                "Writes that expected another revision than the stored one.",
            ),
            redis_duration: latency("redis.command.duration", "From sending a command to Redis to its answer."),
            cycle_duration: latency("reaper.cycle.duration", "How long the reaper's cycles took."),
            scanned: counter("reaper.scanned.total", "{partition}", "Partitions that the reaper looked at."),
            rooms_changed: counter(
                "reaper.rooms_changed.total",
                "{room}",
                "Rooms that the reaper's evictions changed.",
            ),
            bus_lag: latency("bus.lag", "From publishing to the own inbox to receiving it."),
            resubscriptions: counter(
                "bus.resubscription.total",
                "{subscription}",
                "Times that all subscriptions were renewed.",
            ),
            scheduling_lag: latency("runtime.scheduling.lag", "How much later than asked a timer's task ran."),
            meter: meter.clone(),
        }
    }
}
