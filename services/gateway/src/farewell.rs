//! Leaves of sockets that are gone, and locks that nobody here believes in: nobody waits for the answer, so they are
//! repeated until presence-state has taken them, or until the reaper will have.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bus::Bus;
use protocol::command::Command;
use telemetry::propagation::TraceContext;
use tokio::time::sleep;

const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Sends leaves until they are taken.
pub(crate) struct Farewells {
    bus: Arc<Bus>,
    ttl: Duration,
    open: AtomicUsize,
}

impl Farewells {
    pub(crate) fn new(bus: Arc<Bus>, ttl: Duration) -> Arc<Self> {
        Arc::new(Self { bus, ttl, open: AtomicUsize::new(0) })
    }

    /// How many are under way.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Sends one; after a TTL the reaper has done it and it is given up.
    pub(crate) fn send(self: &Arc<Self>, command: Command, trace: TraceContext) {
        let farewells = Arc::clone(self);
        self.open.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            let room = command.room().map_or("", |room| room.as_str());
            let begun = Instant::now();
            while let Err(fault) = farewells.bus.call(room, &command, trace.clone()).await {
                if begun.elapsed() > farewells.ttl {
                    tracing::warn!(room, error = %fault, "a leave was given up; the reaper will do it");
                    break;
                }
                sleep(RETRY_EVERY).await;
            }
            farewells.open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}
