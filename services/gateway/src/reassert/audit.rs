//! Audits: the numbers of members of this gateway's rooms in a partition are compared with those that Redis has. A room that
//! differs is restored.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use protocol::{
    Fault, Partition, RoomId,
    command::{Audit, Command, Outcome},
};
use telemetry::metrics;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Next, Reassert, Work};
use crate::backoff::jitter;

/// The audit of the minute compares so many partitions at once, so often: all of them once a minute. Together they leave in
/// one message and come to Redis in one batch; one by one they cost three times as much CPU.
const AUDITED_AT_ONCE: usize = 32;
const AUDIT_EVERY: Duration = Duration::from_millis(60_000 * AUDITED_AT_ONCE as u64 / Partition::COUNT as u64);
/// The audits that follow a recovery are spread over this time.
const AUDIT_SPREAD: Duration = Duration::from_secs(1);
/// How often an audit looks whether the restores of its partition are done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A partition that is audited because its history changed: once everything is restored, and again when no gateway restores
/// anything any more.
pub(super) struct Auditing {
    partition: Partition,
    /// The audits end when there is a newer one.
    history: u64,
    second_at: Option<Instant>,
}

impl Reassert {
    pub(super) fn begin_audit(&self, partition: Partition, history: u64, recovers_until: Instant) {
        let second_at = Some(recovers_until + jitter(AUDIT_SPREAD));
        let auditing = Auditing { partition, history, second_at };
        self.push(Instant::now() + jitter(AUDIT_SPREAD), Work::Audit(auditing));
    }

    /// Whether the history of its partition is still the one that it audits.
    pub(super) fn is_current(&self, auditing: &Auditing) -> bool {
        self.partition(auditing.partition).history.load(Ordering::Acquire) == auditing.history
    }

    pub(super) async fn audit_step(&self, auditing: &mut Auditing) -> Next {
        if !self.is_current(auditing) {
            return Next::Done;
        }
        if !self.partition(auditing.partition).rooms.lock().is_empty() {
            return Next::At(Instant::now() + LOOK_EVERY);
        }
        match self.audit(auditing.partition).await {
            Ok(()) => auditing.second_at.take().map_or(Next::Done, Next::At),
            Err(_) => Next::Retry,
        }
    }

    /// The audit of the minute: each partition in which the gateway has members.
    pub(super) async fn audit_forever(self: Arc<Self>) {
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

    async fn audit(&self, partition: Partition) -> Result<(), Fault> {
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
}
