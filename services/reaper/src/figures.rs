//! What metrics look at between two cycles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use telemetry::metrics::{self, Reading};

/// See the module.
#[derive(Default)]
pub(crate) struct Figures {
    lag_ms: AtomicU64,
    rooms: AtomicU64,
}

impl Figures {
    /// Figures that metrics look at from now on.
    pub(crate) fn registered() -> Arc<Self> {
        metrics::begin_reaper();
        let figures = Arc::<Self>::default();
        let seen = Arc::clone(&figures);
        metrics::observe(Reading::ReaperLag, move || Some(seen.lag_ms.load(Ordering::Relaxed) as f64 / 1e3));
        let seen = Arc::clone(&figures);
        metrics::observe(Reading::RoomsActive, move || Some(seen.rooms.load(Ordering::Relaxed) as f64));
        figures
    }

    /// For how long the most overdue work was due, and how many rooms the own partitions have.
    pub(crate) fn set(&self, lag: Duration, rooms: u64) {
        self.lag_ms.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.rooms.store(rooms, Ordering::Relaxed);
    }
}
