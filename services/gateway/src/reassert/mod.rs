//! Keeps Redis in line with the gateway's own connections. When Redis may have lost data, or come back with older data, the
//! gateway restores the records of its members and has other records of its own removed (`restore`), then compares its member
//! counts with those of Redis (`audit`). Both are retried until they succeed. Besides, every partition is audited once a
//! minute.
//!
//! The gateway reads nothing back: its own members are what is right.
//!
//! Restores and audits are jobs in one queue with a fixed number of workers. A job that failed goes back into the queue and
//! holds no worker while it waits. The queue is bounded: at most one restore per room of this gateway, one audit per partition.

mod audit;
mod restore;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{self, Duration},
};

use parking_lot::Mutex;
use rollcall_bus::Bus;
use rollcall_protocol::{
    ConnId, Fault, Partition, RoomId,
    command::{Command, Leave, Outcome, Restored},
};
use rollcall_service::Tasks;
use rollcall_telemetry::{
    metrics::{self, Reading},
    propagation::TraceContext,
};
use tokio::time::Instant;

use self::{audit::Auditing, restore::Restoring};
use crate::{
    backoff::{Backoff, jitter},
    due_queue::DueQueue,
    pending::Pending,
};

/// Restores and audits under way at a time, not counting the audits of every minute.
const WORKERS: usize = 32;
/// A younger record is not a stray: its join may still be under way here. Longer than a request may take.
const STRAY_AFTER_MS: u64 = 5_000;
/// When Redis may be back, failed jobs are retried within this time.
const RETRY_SPREAD: Duration = Duration::from_millis(100);

/// What this gateway has in one room.
pub(crate) struct OwnRoom {
    pub(crate) room: RoomId,
    /// Its connections that are members.
    pub(crate) members: Vec<ConnId>,
    /// No join or leave is under way.
    pub(crate) is_settled: bool,
}

/// Provides the gateway's own members.
pub(crate) trait Source: Send + Sync + 'static {
    /// What the gateway has in a room; `None` if it does not use the room.
    fn room(&self, room: &RoomId) -> Option<OwnRoom>;
    /// The rooms of a partition in which it has members, or where joins or leaves are under way.
    fn rooms(&self, partition: Partition) -> Vec<OwnRoom>;
    /// Whether it ever had a room in the partition.
    fn had_rooms(&self, partition: Partition) -> bool;
    /// The records of those `members` that are still members.
    fn records(&self, room: &RoomId, members: &[ConnId]) -> Vec<Restored>;
    /// The records were restored. Returns leaves for those that left meanwhile.
    fn restored(&self, room: &RoomId, records: &[Restored], all_were_gone: bool) -> Vec<Leave>;
    /// An audit found that Redis had other members of the room.
    fn differs(&self, room: &RoomId);
}

/// The work in a partition.
#[derive(Default)]
struct PartitionWork {
    /// How often its history changed.
    history: AtomicU64,
    /// Rooms that are being restored; `true` if the restore has to run again.
    rooms: Mutex<HashMap<RoomId, bool>>,
}

/// What a worker takes from the queue.
struct Job {
    work: Work,
    backoff: Backoff,
    /// The last attempt failed: the job waits for Redis.
    has_failed: bool,
}

enum Work {
    Restore(Restoring),
    Audit(Auditing),
}

/// What follows a step of a job.
enum Next {
    Done,
    /// Another step at this time.
    At(Instant),
    /// The same step again, after a back-off.
    Retry,
}

/// Restores and audits.
pub(crate) struct Reassert {
    bus: Arc<Bus>,
    pending: Arc<Pending>,
    source: OnceLock<Weak<dyn Source>>,
    partitions: Vec<PartitionWork>,
    jobs: DueQueue<Job>,
    /// Connections whose records wait to be restored.
    waiting: Arc<AtomicUsize>,
}

impl Reassert {
    pub(crate) fn new(bus: Arc<Bus>, pending: Arc<Pending>) -> Arc<Self> {
        Arc::new(Self {
            bus,
            pending,
            source: OnceLock::new(),
            partitions: Partition::all().map(|_| PartitionWork::default()).collect(),
            jobs: DueQueue::new(),
            waiting: Arc::default(),
        })
    }

    /// Starts the workers and the audits, for the members of `source`.
    pub(crate) fn start<S: Source>(self: &Arc<Self>, source: &Arc<S>, tasks: &Tasks) {
        let source: Weak<dyn Source> = Arc::downgrade(source) as _;
        let _ = self.source.set(source);
        for _ in 0..WORKERS {
            tasks.spawn_permanent("restores", Arc::clone(self).work());
        }
        tasks.spawn_permanent("audits", Arc::clone(self).audit_forever());
        let waiting = Arc::clone(&self.waiting);
        metrics::observe(Reading::RestoresWaiting, move || Some(waiting.load(Ordering::Relaxed) as f64));
    }

    /// Redis may have lost or changed data in these partitions. Other gateways restore theirs at least until `recovers_until`.
    pub(crate) fn on_history(&self, partitions: &[Partition], recovers_until: time::Instant) {
        let Some(source) = self.source() else { return };
        let affected: Vec<_> = partitions.iter().copied().filter(|partition| source.had_rooms(*partition)).collect();
        for &partition in &affected {
            let history = self.partition(partition).history.fetch_add(1, Ordering::AcqRel) + 1;
            source.rooms(partition).iter().for_each(|own| self.begin_restore(&own.room, own.members.len()));
            self.begin_audit(partition, history, recovers_until.into());
        }
        self.retry_soon();
    }

    /// Redis may be back: retries failed jobs soon. Drops audits of an older history, which newer ones replace.
    fn retry_soon(&self) {
        let now = Instant::now();
        self.jobs.reschedule(|due, job| match &job.work {
            Work::Audit(auditing) if !self.is_current(auditing) => None,
            _ if job.has_failed => Some(due.min(now + jitter(RETRY_SPREAD))),
            _ => Some(due),
        });
    }

    fn push(&self, at: Instant, work: Work) {
        self.jobs.push(at, Job { work, backoff: Backoff::new(), has_failed: false });
    }

    async fn work(self: Arc<Self>) {
        loop {
            let mut job = self.jobs.next().await;
            let next = match &mut job.work {
                Work::Restore(restoring) => self.restore_step(restoring).await,
                Work::Audit(auditing) => self.audit_step(auditing).await,
            };
            match next {
                Next::Done => {}
                Next::At(at) => self.push(at, job.work),
                Next::Retry => {
                    job.has_failed = true;
                    self.jobs.push(Instant::now() + job.backoff.next(), job);
                }
            }
        }
    }

    async fn call(&self, command: &Command) -> Result<Outcome, Fault> {
        self.bus.call(command, TraceContext::default()).await?.into_outcome()
    }

    fn strays_before_ms(&self, partition: Partition) -> u64 {
        self.bus.redis_now_ms_of(partition).saturating_sub(STRAY_AFTER_MS)
    }

    fn partition(&self, partition: Partition) -> &PartitionWork {
        &self.partitions[partition.index()]
    }

    fn source(&self) -> Option<Arc<dyn Source>> {
        self.source.get()?.upgrade()
    }
}
