//! Leaves for whose answer no client waits, and locks that are let go: each is sent again until presence-state has carried
//! it out, for as long as this process lives, because as long as its lease does, no one else ends its members. There are at
//! most a few for each connection that this gateway had.
//!
//! A leave that was carried out may still be lost if Redis comes back with older data. The last ones are kept and sent again
//! then; one that is repeated does no harm.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bus::Bus;
use parking_lot::{Mutex, MutexGuard};
use protocol::{
    Partition,
    command::{Command, Leave},
};
use telemetry::propagation::TraceContext;
use tokio::{sync::Semaphore, time::sleep};

use crate::{backoff::Backoff, relay::Leaving};

/// Leaves that are kept after they were carried out. Redis may be away for 40 s and have lost some seconds before that.
const KEPT: usize = 8_192;
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Leaves that are sent again at a time.
const AT_A_TIME: usize = 32;
/// A leave that takes longer is written down.
const SLOW: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct PendingLeaves {
    bus: Arc<Bus>,
    open: AtomicUsize,
    done: Mutex<VecDeque<(Instant, Leave)>>,
    again: Semaphore,
}

impl PendingLeaves {
    pub(crate) fn new(bus: Arc<Bus>) -> Arc<Self> {
        let (open, done, again) = (AtomicUsize::new(0), Mutex::default(), Semaphore::new(AT_A_TIME));
        Arc::new(Self { bus, open, done, again })
    }

    /// How many are not carried out yet.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Sends a leave once. If that fails, it is sent again until it is carried out.
    pub(crate) async fn try_leave(self: &Arc<Self>, leave: Leave, leaving: Leaving, trace: TraceContext) {
        let command = Command::Leave(leave);
        match self.bus.call(&command, trace.clone()).await {
            Ok(_) => self.keep(command),
            Err(_) => self.send(command, Some(leaving), trace),
        }
    }

    /// Sends a command until it is carried out; `leaving` is dropped then.
    pub(crate) fn send(self: &Arc<Self>, command: Command, leaving: Option<Leaving>, trace: TraceContext) {
        let leaves = Arc::clone(self);
        self.open.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            leaves.until_done(&command, trace).await;
            leaves.keep(command);
            drop(leaving);
            leaves.open.fetch_sub(1, Ordering::AcqRel);
        });
    }

    async fn until_done(&self, command: &Command, trace: TraceContext) {
        let (began, mut backoff, mut was_told) = (Instant::now(), Backoff::new(), false);
        while let Err(fault) = self.bus.call(command, trace.clone()).await {
            if !was_told && began.elapsed() > SLOW {
                let room = command.room().map(tracing::field::display);
                tracing::warn!(room, error = %fault, "leave not carried out yet; it is sent until it is");
                was_told = true;
            }
            sleep(backoff.next()).await;
        }
    }

    fn keep(&self, command: Command) {
        let Command::Leave(leave) = command else { return };
        let mut done = self.lock();
        let now = Instant::now();
        while done.len() >= KEPT || done.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT_FOR) {
            done.pop_front();
        }
        done.push_back((now, leave));
    }

    /// Redis may have lost leaves in these partitions.
    pub(crate) fn on_history(self: &Arc<Self>, partitions: &[Partition]) {
        let mut lost = Vec::new();
        self.lock().retain(|(at, leave)| {
            let is_lost = at.elapsed() <= KEPT_FOR && partitions.contains(&leave.room.partition());
            lost.extend(is_lost.then(|| leave.clone()));
            !is_lost
        });
        for leave in lost {
            let leaves = Arc::clone(self);
            tokio::spawn(async move {
                // Closed only when the process ends.
                let permit = leaves.again.acquire().await;
                let command = Command::Leave(leave);
                let is_done = leaves.bus.call(&command, TraceContext::default()).await.is_ok();
                drop(permit);
                match is_done {
                    true => leaves.keep(command),
                    false => leaves.send(command, None, TraceContext::default()),
                }
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, Leave)>> {
        self.done.lock()
    }
}
