//! A gateway knows its own connections better than Redis does. When Redis may have come back with older data, or lost some,
//! the gateway restores its records and has those removed for which it has no connection; each until that is done. Besides,
//! it compares its numbers with those of Redis, in each partition once a minute.
//!
//! Nothing is read back: a restore says what is so.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bus::Bus;
use futures_util::future::join_all;
use parking_lot::Mutex;
use protocol::{
    ConnId, Fault, Partition, RoomId,
    command::{Audit, Command, Leave, Outcome, Restore, Restored, Strays},
};
use service::Tasks;
use telemetry::{
    metrics::{self, Reading},
    propagation::TraceContext,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    backoff::{Backoff, jitter},
    pending::Pending,
};

/// Commands under way at a time.
const AT_A_TIME: usize = 32;
/// A record that is younger has a join that may be under way here. Longer than a request may take.
const STRAY_AFTER_MS: u64 = 5_000;
/// The unhurried audit compares so many partitions at once, so often: all of them once a minute. Together they leave in one
/// message and come to Redis in one batch; one by one they cost three times as much CPU.
const AUDITED_AT_ONCE: usize = 32;
const AUDIT_EVERY: Duration = Duration::from_millis(60_000 * AUDITED_AT_ONCE as u64 / Partition::COUNT as u64);
/// The audits that follow a recovery are spread over this time.
const AUDIT_SPREAD: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
struct Work {
    /// How often its history changed.
    history: AtomicU64,
    /// Rooms that are being restored, each with whether that has to be done once more.
    rooms: Mutex<HashMap<RoomId, bool>>,
}

/// See the module.
pub(crate) struct Reassert {
    bus: Arc<Bus>,
    pending: Arc<Pending>,
    source: OnceLock<Weak<dyn Source>>,
    partitions: Vec<Work>,
    calls: Semaphore,
    /// Ends all waits: Redis may be back.
    wake: watch::Sender<()>,
    waiting: AtomicUsize,
}

impl Reassert {
    pub(crate) fn new(bus: Arc<Bus>, pending: Arc<Pending>) -> Arc<Self> {
        Arc::new(Self {
            bus,
            pending,
            source: OnceLock::new(),
            partitions: Partition::all().map(|_| Work::default()).collect(),
            calls: Semaphore::new(AT_A_TIME),
            wake: watch::Sender::new(()),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Begins to compare the connections of `source` with what Redis has.
    pub(crate) fn start<S: Source>(self: &Arc<Self>, source: &Arc<S>, tasks: &Tasks) {
        let source: Weak<dyn Source> = Arc::downgrade(source) as _;
        let _ = self.source.set(source);
        tasks.spawn_permanent("audits", Arc::clone(self).audit_forever());
        let reassert = Arc::clone(self);
        metrics::observe(Reading::RestoresWaiting, move || Some(reassert.waiting.load(Ordering::Relaxed) as f64));
    }

    /// What Redis has of these partitions may be older than what it had before.
    pub(crate) fn on_history(self: &Arc<Self>, partitions: &[Partition], recovers_until: Instant) {
        let Some(source) = self.source() else { return };
        for &partition in partitions.iter().filter(|partition| source.had_rooms(**partition)) {
            let history = self.work(partition).history.fetch_add(1, Ordering::AcqRel) + 1;
            source.rooms(partition).iter().for_each(|own| self.restore(&own.room));
            tokio::spawn(Arc::clone(self).audit_after(partition, history, recovers_until));
        }
        self.wake.send_replace(());
    }

    /// Redis lacks members of this gateway in a room, or has them older: they are restored.
    pub(crate) fn restore(self: &Arc<Self>, room: &RoomId) {
        let mut rooms = self.work(room.partition()).rooms.lock();
        if let Some(again) = rooms.get_mut(room) {
            *again = true;
        } else {
            rooms.insert(room.clone(), false);
            tokio::spawn(Arc::clone(self).restore_until_done(room.clone()));
        }
    }

    async fn restore_until_done(self: Arc<Self>, room: RoomId) {
        loop {
            self.restore_members(&room).await;
            let mut rooms = self.work(room.partition()).rooms.lock();
            match rooms.get_mut(&room) {
                Some(again) if *again => *again = false,
                _ => {
                    rooms.remove(&room);
                    return;
                }
            }
        }
    }

    async fn restore_members(&self, room: &RoomId) {
        let (mut done, mut backoff) = (HashSet::new(), Backoff::new());
        let mut waiting = Waiting { sum: &self.waiting, own: 0 };
        loop {
            let Some(source) = self.source() else { return };
            let Some(own) = source.room(room) else { return };
            let (mut members, restored): (Vec<_>, Vec<_>) =
                own.members.into_iter().partition(|conn| !done.contains(conn));
            if members.is_empty() {
                return;
            }
            waiting.set(members.len());
            // The last ones come with the names of all others: what else is stored has no connection any more.
            let is_last = own.is_settled && members.len() <= Restore::MOST;
            let strays = is_last.then(|| Strays { before_ms: self.strays_before_ms(room.partition()), stay: restored });
            members.truncate(Restore::MOST);
            let records = source.records(room, &members);
            if records.is_empty() || self.restore_some(&*source, room, records, strays).await {
                done.extend(members);
                backoff = Backoff::new();
            } else {
                drop(source);
                self.wait(backoff.next()).await;
            }
        }
    }

    /// Says whether it is done.
    async fn restore_some(
        &self,
        source: &dyn Source,
        room: &RoomId,
        records: Vec<Restored>,
        strays: Option<Strays>,
    ) -> bool {
        let restore =
            Restore { room: room.clone(), gateway: self.bus.instance().clone(), members: records.clone(), strays };
        let Ok(Outcome::Restored { written, .. }) = self.call(&Command::Restore(restore)).await else { return false };
        for leave in source.restored(room, &records, written == records.len() as u64) {
            self.pending.send(Command::Leave(leave), None, TraceContext::default());
        }
        true
    }

    /// After the history changed: once everything is restored, and again when no one restores anything any more.
    async fn audit_after(self: Arc<Self>, partition: Partition, history: u64, recovers_until: Instant) {
        let is_current = || self.work(partition).history.load(Ordering::Acquire) == history;
        for begins_at in [Instant::now(), recovers_until] {
            sleep_until((begins_at + jitter(AUDIT_SPREAD)).into()).await;
            while is_current() && !self.work(partition).rooms.lock().is_empty() {
                sleep(LOOK_EVERY).await;
            }
            let mut backoff = Backoff::new();
            while is_current() && self.audit(partition).await.is_err() {
                self.wait(backoff.next()).await;
            }
        }
    }

    /// The unhurried audit: each partition in which the gateway has rooms, once a minute.
    async fn audit_forever(self: Arc<Self>) {
        let mut tick = interval(AUDIT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let all: Vec<_> = Partition::all().collect();
        for partitions in all.chunks(AUDITED_AT_ONCE).cycle() {
            tick.tick().await;
            let Some(source) = self.source() else { return };
            let has_members =
                |partition: &&Partition| source.rooms(**partition).iter().any(|own| !own.members.is_empty());
            // What fails is asked again in a minute.
            join_all(partitions.iter().filter(has_members).map(|partition| self.audit(*partition))).await;
        }
    }

    async fn audit(self: &Arc<Self>, partition: Partition) -> Result<(), Fault> {
        let Some(source) = self.source() else { return Ok(()) };
        let strays_before_ms = self.strays_before_ms(partition);
        let own = source.rooms(partition);
        let audit = Audit {
            partition,
            gateway: self.bus.instance().clone(),
            rooms: own.iter().map(|own| (own.room.clone(), own.members.len() as u64)).collect(),
            strays_before_ms,
        };
        let Outcome::Audited { differing, .. } = self.call(&Command::Audit(audit)).await? else {
            return Err(Fault::unexpected());
        };
        // Where a join or a leave was under way, before or since, the numbers may differ.
        let was_settled = |room: &&RoomId| own.iter().any(|own| own.room == **room && own.is_settled);
        let is_settled = |room: &&RoomId| source.room(room).is_none_or(|own| own.is_settled);
        let differing: Vec<_> = differing.iter().filter(was_settled).filter(is_settled).collect();
        metrics::audited(differing.len() as u64);
        for room in differing {
            tracing::warn!(%room, "room differs in Redis; restoring its members");
            self.restore(room);
            source.differs(room);
        }
        Ok(())
    }

    async fn call(&self, command: &Command) -> Result<Outcome, Fault> {
        // Closed only when the process ends.
        let _permit = self.calls.acquire().await;
        self.bus.call(command, TraceContext::default()).await?.into_outcome()
    }

    /// Waits, or until Redis is back.
    async fn wait(&self, wait: Duration) {
        let mut wake = self.wake.subscribe();
        tokio::select! {
            () = sleep(wait) => {}
            _ = wake.changed() => sleep(jitter(Duration::from_millis(100))).await,
        }
    }

    fn strays_before_ms(&self, partition: Partition) -> u64 {
        self.bus.redis_now_ms_of(partition).saturating_sub(STRAY_AFTER_MS)
    }

    fn work(&self, partition: Partition) -> &Work {
        &self.partitions[partition.index()]
    }

    fn source(&self) -> Option<Arc<dyn Source>> {
        self.source.get()?.upgrade()
    }
}

/// The part of one room in the number of all who wait.
struct Waiting<'a> {
    sum: &'a AtomicUsize,
    own: usize,
}

impl Waiting<'_> {
    fn set(&mut self, now: usize) {
        let before = std::mem::replace(&mut self.own, now);
        // Wrapping, as atomics do.
        self.sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}
