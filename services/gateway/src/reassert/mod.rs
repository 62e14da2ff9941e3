//! A gateway knows its own connections better than Redis does. When Redis may have come back with older data, or lost some,
//! the gateway restores its records and has those removed for which it has no connection (`restore`), and compares its
//! numbers of members with those of Redis (`audit`); each until that is done. Besides, it compares each partition once a
//! minute.
//!
//! Nothing is read back: a restore says what is so.
//!
//! Restores and audits are jobs of one queue with a fixed number of workers. A job that failed goes back into the queue, so
//! that it holds no worker while it waits. The queue is bounded: at most one restore for each room of this gateway, and one
//! audit for each partition.

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

use bus::Bus;
use parking_lot::Mutex;
use protocol::{
    ConnId, Fault, Partition, RoomId,
    command::{Command, Leave, Outcome, Restored},
};
use service::Tasks;
use telemetry::{
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

/// Restores and audits under way at a time, besides the audits of the minute.
const WORKERS: usize = 32;
/// A record that is younger has a join that may be under way here. Longer than a request may take.
const STRAY_AFTER_MS: u64 = 5_000;
/// When Redis may be back, jobs that failed are tried again within this time.
const RETRY_SPREAD: Duration = Duration::from_millis(100);

/// What this gateway has in one room.
pub(crate) struct OwnRoom {
    pub(crate) room: RoomId,
    /// Its connections that are members.
    pub(crate) members: Vec<ConnId>,
    /// No join or leave is under way.
    pub(crate) is_settled: bool,
}

/// Where the gateway's own connections are known.
pub(crate) trait Source: Send + Sync + 'static {
    /// What the gateway has in a room; none if it has nothing to do with it.
    fn room(&self, room: &RoomId) -> Option<OwnRoom>;
    /// The rooms of a partition in which it has members, or where joins or leaves are under way.
    fn rooms(&self, partition: Partition) -> Vec<OwnRoom>;
    /// Whether it ever had a room there.
    fn had_rooms(&self, partition: Partition) -> bool;
    /// The records of those of `members` that still are.
    fn records(&self, room: &RoomId, members: &[ConnId]) -> Vec<Restored>;
    /// The records stand as they were sent. Answers the leaves of those who left meanwhile.
    fn restored(&self, room: &RoomId, records: &[Restored], all_were_gone: bool) -> Vec<Leave>;
    /// Redis has lost something of the room, or had too much of it.
    fn differs(&self, room: &RoomId);
}

/// What is known of a partition.
#[derive(Default)]
struct PartitionWork {
    /// How often its history changed.
    history: AtomicU64,
    /// Rooms that are being restored, each with whether that has to be done once more.
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

/// What becomes of a job after a step.
enum Next {
    Done,
    /// It goes on then.
    At(Instant),
    /// It failed.
    Retry,
}

/// See the module.
pub(crate) struct Reassert {
    bus: Arc<Bus>,
    pending: Arc<Pending>,
    source: OnceLock<Weak<dyn Source>>,
    partitions: Vec<PartitionWork>,
    jobs: DueQueue<Job>,
    /// Connections whose records have to be restored.
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

    /// Begins to compare the connections of `source` with what Redis has.
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

    /// What Redis has of these partitions may be older than what it had before. Other gateways restore theirs at least
    /// until `recovers_until`.
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

    /// Redis may be back: jobs that failed wait no longer. Audits of an older history are dropped, a newer one follows.
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
