//! Pending commands: leaves that no client waits for, lock releases and withdrawals. Each is sent until presence-state has
//! carried it out, as long as this process runs, because no one else evicts the members of a gateway that holds its lease.
//!
//! The queue is bounded and has a fixed number of workers. Commands that failed wait in a second lane with its own workers: if a
//! Redis primary is down, each attempt costs up to 1.8 s, which must not delay commands for the other primaries. Commands of locks have a
//! lane too, because they take longer than leaves.
//!
//! If Redis comes back with older data, leaves that were carried out may be lost. The latest ones are kept and sent again then;
//! a repeated leave does no harm.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rollcall_bus::Bus;
use rollcall_protocol::{
    Fault, Partition,
    command::{Command, Leave},
};
use rollcall_service::Tasks;
use rollcall_telemetry::{LogLimit, metrics, propagation::TraceContext};
use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    count::{Count, Counted},
    due_queue::DueQueue,
    flow::window::{UnderWay, Window},
};

/// The most pending commands: five leaves for each of 50,000 connections. With ids of usual length a command takes about
/// 0.5 KiB, 128 MiB together; with the longest ids 1.5 KiB.
const MAX_PENDING: usize = 262_144;
/// First attempts at a time: as many as presence-state takes from its queue at once. A gateway that stops has 3 s for 50,000
/// leaves; with 512 at a time a round trip may take 30 ms.
const FIRST_WORKERS: usize = 512;
/// Commands of locks that are under way at their first attempts: each takes Redis up to 2 ms where 256 connections wait for 256 locks of
/// one name, thirty times as long as a leave, and a thousand sockets may vanish at once.
const LOCKS_UNDER_WAY: usize = 8;
/// Retries at a time.
const RETRY_WORKERS: usize = 128;
/// Leaves that are kept after they were carried out. Redis may be down for 40 s and have lost some seconds before that.
const MAX_KEPT: usize = 8_192;
const KEPT_FOR: Duration = Duration::from_secs(60);
/// A command that is pending for longer is logged.
const SLOW: Duration = Duration::from_secs(10);

/// Dropped when a command has been carried out.
pub(crate) type Guard = Box<dyn Send + Sync>;

/// The pending commands.
pub(crate) struct Pending {
    bus: Arc<Bus>,
    count: Count,
    first: DueQueue<Attempt>,
    locks: DueQueue<Attempt>,
    locks_under_way: Window,
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
    slot: Counted,
}

impl Pending {
    pub(crate) fn new(bus: Arc<Bus>) -> Arc<Self> {
        Arc::new(Self {
            bus,
            count: Count::default(),
            first: DueQueue::new(),
            locks: DueQueue::new(),
            locks_under_way: Window::new(LOCKS_UNDER_WAY),
            retries: DueQueue::new(),
            kept: Mutex::default(),
            slow: LogLimit::default(),
            full: LogLimit::default(),
        })
    }

    /// Starts the workers.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let spawn = |lane: fn(&Self) -> &DueQueue<Attempt>, window: fn(&Self) -> Option<&Window>| {
            let pending = Arc::clone(self);
            tasks.spawn_permanent("pending commands", async move {
                loop {
                    let attempt = lane(&pending).next().await;
                    let under_way = match window(&pending) {
                        Some(window) => window.begin(1).await,
                        None => UnderWay::uncounted(),
                    };
                    pending.attempt(attempt, under_way).await;
                }
            });
        };
        (0..FIRST_WORKERS).for_each(|_| spawn(|pending| &pending.first, |_| None));
        (0..FIRST_WORKERS).for_each(|_| spawn(|pending| &pending.locks, |pending| Some(&pending.locks_under_way)));
        (0..RETRY_WORKERS).for_each(|_| spawn(|pending| &pending.retries, |_| None));
    }

    /// The number of commands that are not carried out yet.
    pub(crate) fn open(&self) -> usize {
        self.count.get()
    }

    /// Sends a leave once. If that fails, it becomes pending.
    pub(crate) async fn try_leave(&self, leave: Leave, guard: impl Send + Sync + 'static, trace: TraceContext) {
        let command = Command::Leave(leave);
        match self.bus.call(&command, trace.clone()).await {
            Ok(_) => self.keep(command),
            Err(_) => self.push(&self.retries, command, Some(Box::new(guard)), trace),
        }
    }

    /// Sends a command until it is carried out. `guard` is dropped after that, or at once if too many commands are pending.
    pub(crate) fn send(&self, command: Command, guard: Option<Guard>, trace: TraceContext) {
        let lane = if matches!(command, Command::Lock(_)) { &self.locks } else { &self.first };
        self.push(lane, command, guard, trace);
    }

    /// Redis may have lost leaves in these partitions.
    pub(crate) fn on_history(&self, partitions: &[Partition]) {
        let mut lost = Vec::new();
        self.kept.lock().retain(|(at, leave)| {
            let is_lost = at.elapsed() <= KEPT_FOR && partitions.contains(&leave.room.partition());
            lost.extend(is_lost.then(|| leave.clone()));
            !is_lost
        });
        // Through the retry workers: there may be many of them, and clients leave meanwhile.
        for leave in lost {
            self.push(&self.retries, Command::Leave(leave), None, TraceContext::default());
        }
    }

    fn push(&self, lane: &DueQueue<Attempt>, command: Command, guard: Option<Guard>, trace: TraceContext) {
        let now = Instant::now();
        match self.count.one_more_up_to(MAX_PENDING) {
            Some(slot) => {
                lane.push(now, Attempt { command, trace, since: now, backoff: Backoff::new(), guard, slot });
            }
            None => self.on_full(&command),
        }
    }

    async fn attempt(&self, attempt: Attempt, under_way: UnderWay) {
        match under_way.during(self.bus.call(&attempt.command, attempt.trace.clone())).await {
            Ok(_) => {
                let Attempt { command, guard, slot, .. } = attempt;
                self.keep(command);
                drop(guard);
                drop(slot);
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

    /// Drops the command. The next audit removes a member that Redis still has, and a lock expires with its TTL.
    fn on_full(&self, command: &Command) {
        metrics::pending_dropped();
        if let Some(suppressed) = self.full.admit() {
            let room = command.room().map(tracing::field::display);
            tracing::warn!(room, suppressed, "pending command dropped: too many are pending");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_takes_no_more_than_its_bound_says() {
        assert!(size_of::<Attempt>() <= 384, "{}", size_of::<Attempt>());
    }
}
