//! The gauges of the reaper, read between two cycles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rollcall_telemetry::metrics::{self, Reading};

/// See the module.
#[derive(Default)]
pub(crate) struct Gauges {
    lag_ms: AtomicU64,
    rooms: AtomicU64,
}

impl Gauges {
    /// Gauges that are registered with the metrics.
    pub(crate) fn registered() -> Arc<Self> {
        metrics::begin_reaper();
        let gauges = Arc::<Self>::default();
        let seen = Arc::clone(&gauges);
        metrics::observe(Reading::ReaperLag, move || Some(seen.lag_ms.load(Ordering::Relaxed) as f64 / 1e3));
        let seen = Arc::clone(&gauges);
        metrics::observe(Reading::RoomsActive, move || Some(seen.rooms.load(Ordering::Relaxed) as f64));
        gauges
    }

    /// How long the most overdue work has been due, and how many rooms the own partitions have.
    pub(crate) fn set(&self, lag: Duration, rooms: u64) {
        self.lag_ms.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.rooms.store(rooms, Ordering::Relaxed);
    }
}
