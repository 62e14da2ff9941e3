//! Pending commands: leaves for whose answer no client waits, and lock releases and withdrawals. Each is sent until
//! presence-state has carried it out, for as long as this process lives, because no one else ends the members of a gateway
//! that has its lease.
//!
//! They are one bounded queue with a fixed number of workers. A command that failed waits in a lane of its own with workers
//! of its own: a primary that is down costs each attempt up to 1.8 s, and must not keep workers from commands for the others.
//!
//! A leave that was carried out may still be lost if Redis comes back with older data. The last ones are kept and sent again
//! then; a repeated one does no harm.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::Bus;
use parking_lot::Mutex;
use protocol::{
    Fault, Partition,
    command::{Command, Leave},
};
use service::Tasks;
use telemetry::{LogLimit, metrics, propagation::TraceContext};
use tokio::time::Instant;

use crate::{backoff::Backoff, due_queue::DueQueue};

/// Commands that may be pending. Each takes about 0.5 KiB with ids as applications have them, which is 128 MiB in all, and
/// 1.5 KiB with the longest ids. That is five leaves for each of 50,000 connections.
const MAX_PENDING: usize = 262_144;
/// Commands that are tried for the first time, at a time: as many as presence-state takes from its queue at once. A
/// gateway that stops has 3 s for 50,000 leaves: with 512 at a time, a round trip may take 30 ms.
const FIRST_WORKERS: usize = 512;
/// Commands that are tried again, at a time.
const RETRY_WORKERS: usize = 128;
/// Leaves that are kept after they were carried out. Redis may be away for 40 s and have lost some seconds before that.
const MAX_KEPT: usize = 8_192;
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A command that is pending for longer is worth a log line.
const SLOW: Duration = Duration::from_secs(10);

/// Something that is dropped when a command has been carried out.
pub(crate) type Guard = Box<dyn Send + Sync>;

/// See the module.
pub(crate) struct Pending {
    bus: Arc<Bus>,
    count: Arc<AtomicUsize>,
    first: DueQueue<Attempt>,
    retries: DueQueue<Attempt>,
    kept: Mutex<VecDeque<(Instant, Leave)>>,
    slow: LogLimit,
    full: LogLimit,
}

/// A command and its next attempt.
struct Attempt {
    command: Command,
    trace: TraceContext,
    since: Instant,
    backoff: Backoff,
    guard: Option<Guard>,
    place: Place,
}

impl Pending {
    pub(crate) fn new(bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self {
            bus,
            count: Arc::default(),
            first: DueQueue::new(),
            retries: DueQueue::new(),
            kept: Mutex::default(),
            slow: LogLimit::default(),
            full: LogLimit::default(),
        })
    }

    /// Starts the workers.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let spawn = |lane: fn(&Self) -> &DueQueue<Attempt>| {
            let pending = Arc::clone(self);
            tasks.spawn_permanent("pending commands", async move {
                loop {
                    pending.attempt(lane(&pending).next().await).await;
                }
            });
        };
        (0..FIRST_WORKERS).for_each(|_| spawn(|pending| &pending.first));
        (0..RETRY_WORKERS).for_each(|_| spawn(|pending| &pending.retries));
    }

    /// How many commands are not carried out yet.
    pub(crate) fn open(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Sends a leave once. If that fails, it becomes pending.
    pub(crate) async fn try_leave(&self, leave: Leave, guard: impl Send + Sync + 'static, trace: TraceContext) {
        let command = Command::Leave(leave);
        match self.bus.call(&command, trace.clone()).await {
            Ok(_) => self.keep(command),
            Err(_) => self.push(&self.retries, command, Some(Box::new(guard)), trace),
        }
    }

    /// Sends a command until it is carried out. `guard` is dropped then, or at once if too many commands are pending.
    pub(crate) fn send(&self, command: Command, guard: Option<Guard>, trace: TraceContext) {
        self.push(&self.first, command, guard, trace);
    }

    /// Redis may have lost leaves in these partitions.
    pub(crate) fn on_history(&self, partitions: &[Partition]) {
        let mut lost = Vec::new();
        self.kept.lock().retain(|(at, leave)| {
            let is_lost = at.elapsed() <= KEPT_FOR && partitions.contains(&leave.room.partition());
            lost.extend(is_lost.then(|| leave.clone()));
            !is_lost
        });
        // They share the workers of retries: clients leave meanwhile, and what was lost may be much.
        for leave in lost {
            self.push(&self.retries, Command::Leave(leave), None, TraceContext::default());
        }
    }

    fn push(&self, lane: &DueQueue<Attempt>, command: Command, guard: Option<Guard>, trace: TraceContext) {
        let now = Instant::now();
        match Place::take(&self.count) {
            Some(place) => {
                lane.push(now, Attempt { command, trace, since: now, backoff: Backoff::new(), guard, place });
            }
            None => self.on_full(&command),
        }
    }

    async fn attempt(&self, attempt: Attempt) {
        match self.bus.call(&attempt.command, attempt.trace.clone()).await {
            Ok(_) => {
                let Attempt { command, guard, place, .. } = attempt;
                self.keep(command);
                drop(guard);
                drop(place);
            }
            Err(fault) => self.retry(attempt, &fault),
        }
    }

    fn retry(&self, mut attempt: Attempt, fault: &Fault) {
        if attempt.since.elapsed() > SLOW && self.slow.admit().is_some() {
            let (pending, retries) = (self.open(), self.retries.len());
            let room = attempt.command.room().map(tracing::field::display);
            tracing::warn!(pending, retries, room, error = %fault, "command still pending after 10 s; retrying");
        }
        self.retries.push(Instant::now() + attempt.backoff.next(), attempt);
    }

    fn keep(&self, command: Command) {
        let Command::Leave(leave) = command else { return };
        let mut kept = self.kept.lock();
        let now = Instant::now();
        while kept.len() >= MAX_KEPT || kept.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT_FOR) {
            kept.pop_front();
        }
        kept.push_back((now, leave));
    }

    /// The command is dropped. The audit of the minute removes a member that presence still has, and a lock ends with its
    /// TTL.
    fn on_full(&self, command: &Command) {
        metrics::pending_dropped();
        if let Some(suppressed) = self.full.admit() {
            let room = command.room().map(tracing::field::display);
            tracing::warn!(room, suppressed, "pending command dropped: too many are pending");
        }
    }
}

/// One of the commands that may be pending.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |count| (count < MAX_PENDING).then_some(count + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let count = Arc::new(AtomicUsize::new(MAX_PENDING - 1));
        let last = Place::take(&count);
        assert!(last.is_some() && Place::take(&count).is_none());
        drop(last);
        assert!(Place::take(&count).is_some());
    }

    #[test]
    fn an_attempt_takes_no_more_than_its_bound_says() {
        assert!(size_of::<Attempt>() <= 384, "{}", size_of::<Attempt>());
    }
}
