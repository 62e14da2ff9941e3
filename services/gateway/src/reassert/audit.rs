//! Audits: presence-state compares how many members this gateway has in each room of a partition with what Redis has. A room
//! that differs is restored.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use rollcall_protocol::{
    Fault, Partition, RoomId,
    command::{Audit, Command, Outcome},
};
use rollcall_telemetry::metrics;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Next, Reassert, Work};
use crate::backoff::jitter;

/// Every partition is audited once a minute, this many at a time. Together they are one message and one batch for Redis; one by
/// one they would cost three times as much CPU.
const AUDITED_AT_ONCE: usize = 32;
const AUDIT_EVERY: Duration = Duration::from_millis(60_000 * AUDITED_AT_ONCE as u64 / Partition::COUNT as u64);
/// The audits that follow a recovery are spread over this time.
const AUDIT_SPREAD: Duration = Duration::from_secs(1);
/// How often an audit checks whether the restores of its partition are done.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The two audits of a partition whose history changed: one when this gateway has restored its members, one after the recovery,
/// when all gateways have.
pub(super) struct Auditing {
    partition: Partition,
    /// The audits end when there is a newer history.
    history: u64,
    second_at: Option<Instant>,
}

impl Reassert {
    pub(super) fn begin_audit(&self, partition: Partition, history: u64, recovers_until: Instant) {
        let second_at = Some(recovers_until + jitter(AUDIT_SPREAD));
        let auditing = Auditing { partition, history, second_at };
        self.push(Instant::now() + jitter(AUDIT_SPREAD), Work::Audit(auditing));
    }

    /// Whether the history of the partition has not changed since.
    pub(super) fn is_current(&self, auditing: &Auditing) -> bool {
        self.partition(auditing.partition).history.load(Ordering::Acquire) == auditing.history
    }

    pub(super) async fn audit_step(&self, auditing: &mut Auditing) -> Next {
        if !self.is_current(auditing) {
            return Next::Done;
        }
        if !self.partition(auditing.partition).rooms.lock().is_empty() {
            return Next::At(Instant::now() + CHECK_EVERY);
        }
        match self.audit(auditing.partition).await {
            Ok(()) => auditing.second_at.take().map_or(Next::Done, Next::At),
            Err(_) => Next::Retry,
        }
    }

    /// Audits every partition in which the gateway has members, once a minute.
    pub(super) async fn audit_forever(self: Arc<Self>) {
        let mut tick = interval(AUDIT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let all: Vec<_> = Partition::all().collect();
        for partitions in all.chunks(AUDITED_AT_ONCE).cycle() {
            tick.tick().await;
            let Some(source) = self.source() else { return };
            let has_members =
                |partition: &&Partition| source.rooms(**partition).iter().any(|own| !own.members.is_empty());
            // An audit that fails is repeated a minute later.
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
        // A room in which a join or leave is, or was, under way may differ.
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
