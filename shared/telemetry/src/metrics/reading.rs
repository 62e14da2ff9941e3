//! Metrics whose value is read before each export instead of being recorded on each change.

use opentelemetry::{KeyValue, metrics::Meter};

/// A metric whose value is read before each export.
#[derive(Debug, Clone, Copy)]
pub enum Reading {
    /// Sockets of this gateway.
    ConnectionsActive,
    /// Different users in rooms.
    UsersActive,
    /// The share of a limit of this gateway that is used: `sessions`, `handshakes` or `connections`.
    LimitUsed(&'static str),
    /// Rooms in the partitions of this reaper; the sum over all reapers is all rooms.
    RoomsActive,
    /// Locks that sockets of this gateway hold.
    LocksHeld,
    /// Locks that sockets of this gateway wait for.
    LocksWaiting,
    /// Bytes of a gateway that wait for its clients, with the buffers that stay as large as a client's largest message.
    OutwardWaiting,
    /// How many of these bytes may wait.
    OutwardLimit,
    /// Large requests and answers of a gateway that wait for their turn.
    LargeWaiting,
    /// Commands that wait or are being carried out.
    CommandsWaiting,
    /// Requests that are not answered yet.
    RequestsPending,
    /// 1 while this process receives nothing from its own inbox.
    SubscriptionStale,
    /// 1 while Redis answers.
    RedisUp,
    /// The share of `maxmemory` that the fullest Redis server uses, 0 to 1; nothing if it has no limit.
    RedisMemory,
    /// How overdue the most overdue work of the last cycle was, in seconds: a gateway whose lease expired and that still has
    /// members, or an expired lock or waiter. 0 when nothing was overdue.
    ReaperLag,
    /// Seconds since Redis last acknowledged a renewal of this process' lease; before the first, since the start.
    LeaseAge,
    /// Connections of this gateway whose records still have to be restored after Redis' history changed.
    RestoresWaiting,
    /// 1 while this process evicts no one for the named reason: `start`, `silence`, `history` or `clock`.
    TruceActive(&'static str),
    /// CPU time used, in seconds, by its mode: `user` or `system`.
    CpuTime(&'static str),
    /// Resident memory in bytes.
    MemoryUsage,
    /// Open files and sockets.
    OpenFiles,
    /// How many files and sockets the process may have open.
    OpenFilesLimit,
    /// Seconds since the start.
    Uptime,
    /// Tasks that wait for a worker in the runtime's common queue.
    QueueDepth,
    /// Tasks that have not ended.
    TasksAlive,
    /// The share of the workers' time that was spent on tasks since the last export.
    BusyRatio,
    /// Items of a signal that wait to be exported.
    TelemetryQueue(&'static str),
    /// How many of them may wait.
    TelemetryLimit(&'static str),
    /// Items of a signal that were dropped.
    TelemetryDropped(&'static str),
}

enum Kind {
    Gauge,
    Counter,
}

impl Reading {
    /// Kind, name, unit, description.
    fn definition(self) -> (Kind, &'static str, &'static str, &'static str) {
        use Kind::{Counter, Gauge};
        match self {
            Reading::ConnectionsActive => (Gauge, "presence.connections.active", "{connection}", "Sockets connected."),
            Reading::UsersActive => {
                (Gauge, "presence.users.active", "{user}", "Different users in rooms, through this gateway.")
            }
            Reading::LimitUsed(_) => (Gauge, "presence.limit.used", "", "The share of a limit that is used."),
            Reading::RoomsActive => (Gauge, "presence.rooms.active", "{room}", "Rooms that have members or locks."),
            Reading::LocksHeld => (Gauge, "lock.held", "{lock}", "Locks that sockets of this gateway hold."),
            Reading::LocksWaiting => (Gauge, "lock.waiting", "{lock}", "Locks that sockets of this gateway wait for."),
            Reading::OutwardWaiting => (Gauge, "presence.outward.waiting", "By", "Bytes that wait for clients."),
            Reading::OutwardLimit => (Gauge, "presence.outward.limit", "By", "How many bytes may wait for clients."),
            Reading::LargeWaiting => (Gauge, "presence.large.waiting", "{request}", "Large requests that wait."),
            Reading::CommandsWaiting => (Gauge, "presence.commands.waiting", "{command}", "Commands not yet answered."),
            Reading::RequestsPending => (Gauge, "bus.requests.pending", "{request}", "Requests not yet answered."),
            Reading::SubscriptionStale => {
                (Gauge, "bus.subscription.deaf", "", "1 while nothing arrives in the own inbox.")
            }
            Reading::RedisUp => (Gauge, "redis.up", "", "1 while Redis answers."),
            Reading::RedisMemory => (Gauge, "redis.memory.ratio", "", "Share of maxmemory that is used."),
            Reading::ReaperLag => (Gauge, "reaper.lag", "s", "How overdue the most overdue work was."),
            Reading::LeaseAge => (Gauge, "presence.lease.age", "s", "Age of the last acknowledged lease renewal."),
            Reading::RestoresWaiting => {
                (Gauge, "presence.restore.waiting", "{connection}", "Connections that wait to be restored.")
            }
            Reading::TruceActive(_) => (Gauge, "presence.eviction.truce", "", "1 while no one is evicted."),
            Reading::CpuTime(_) => (Counter, "process.cpu.time", "s", "CPU time used."),
            Reading::MemoryUsage => (Gauge, "process.memory.usage", "By", "Resident memory."),
            Reading::OpenFiles => (Gauge, "process.open_file_descriptor.count", "{file_descriptor}", "Open files."),
            Reading::OpenFilesLimit => {
                (Gauge, "process.open_file_descriptor.limit", "{file_descriptor}", "How many files may be open.")
            }
            Reading::Uptime => (Gauge, "process.uptime", "s", "Time since the start."),
            Reading::QueueDepth => (Gauge, "runtime.queue.depth", "{task}", "Tasks in the runtime's common queue."),
            Reading::TasksAlive => (Gauge, "runtime.tasks.alive", "{task}", "Tasks that have not ended."),
            Reading::BusyRatio => (Gauge, "runtime.busy.ratio", "", "Share of the workers' time spent on tasks."),
            Reading::TelemetryQueue(_) => (Gauge, "telemetry.queue.depth", "{item}", "Items that wait to be exported."),
            Reading::TelemetryLimit(_) => (Gauge, "telemetry.queue.limit", "{item}", "How many items may wait."),
            Reading::TelemetryDropped(_) => (Counter, "telemetry.dropped.total", "{item}", "Items dropped."),
        }
    }

    fn label(self) -> Vec<KeyValue> {
        match self {
            Reading::TruceActive(reason) => vec![KeyValue::new("reason", reason)],
            Reading::LimitUsed(limit) => vec![KeyValue::new("limit", limit)],
            Reading::CpuTime(mode) => vec![KeyValue::new("cpu.mode", mode)],
            Reading::TelemetryQueue(signal) | Reading::TelemetryLimit(signal) | Reading::TelemetryDropped(signal) => {
                vec![KeyValue::new("signal", signal)]
            }
            _ => Vec::new(),
        }
    }
}

pub(super) fn observe(meter: &Meter, reading: Reading, value: impl Fn() -> Option<f64> + Send + Sync + 'static) {
    let (kind, name, unit, about) = reading.definition();
    let label = reading.label();
    // The SDK keeps the callback; the instrument itself is only a handle.
    match kind {
        Kind::Gauge => {
            let builder = meter.f64_observable_gauge(name).with_unit(unit).with_description(about);
            builder.with_callback(move |to| value().into_iter().for_each(|value| to.observe(value, &label))).build();
        }
        Kind::Counter => {
            let builder = meter.f64_observable_counter(name).with_unit(unit).with_description(about);
            builder.with_callback(move |to| value().into_iter().for_each(|value| to.observe(value, &label))).build();
        }
    }
}
