//! Partitions in Redis: audits and reaps.

use std::sync::LazyLock;

use rollcall_bus::script::Script;
use rollcall_keyspace::gateway_code;
use rollcall_protocol::{Code, Fault, InstanceId, Partition, RoomId, command::Audit};

use super::{Caller, Run, Store, int, source::script, traceparent_of};

static AUDIT: LazyLock<Script> = LazyLock::new(|| script("partition_audit"));
static REAP: LazyLock<Script> = LazyLock::new(|| script("partition_reap"));

/// What an audit found.
#[derive(Debug, PartialEq, Eq)]
pub struct Audited {
    /// Rooms in which Redis has another number of the gateway's records than the gateway sent.
    pub differing: Vec<RoomId>,
    /// How many records were removed from rooms that the gateway did not name.
    pub removed: u64,
}

/// What a reap did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Connections evicted.
    pub evicted: u64,
    /// Rooms that were changed.
    pub rooms: u64,
    /// Whether there is more to do.
    pub more: bool,
    /// Rooms that cannot be read and were skipped.
    pub broken: Vec<RoomId>,
}

impl Store {
    /// Compares what a gateway has in a partition with what is stored.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn audit(&self, caller: Caller<'_>, audit: &Audit) -> Result<Audited, Fault> {
        let base = self.base(audit.partition);
        let about = rollcall_keyspace::rooms_of(base, &audit.gateway);
        let mut args = vec![gateway_code(&audit.gateway).into()];
        args.extend(audit.rooms.iter().flat_map(|(room, members)| [room.as_str().into(), int(*members)]));
        let run = Run { about: &about, at: audit.partition, bases: vec![base.clone()], args, batch: audit.rooms.len() };
        let (differing, strays): (Vec<String>, Vec<String>) = self.write(caller, &AUDIT, run).await?;
        let mut removed = 0;
        for room in strays {
            let room = room.into();
            match self.evict_strays(caller, &room, &audit.gateway, audit.strays_before_ms, None).await {
                Ok(evicted) => removed += evicted,
                // A room that cannot be read must not stop the audit of the others.
                Err(fault) if fault.code == Code::Internal => {
                    tracing::error!(%room, %fault, "room cannot be audited")
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(Audited { differing: differing.into_iter().map(RoomId::from).collect(), removed })
    }

    /// Evicts about 200 connections of the `gone` gateways from a partition, and ends locks and waits that have expired.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn reap(&self, caller: Caller<'_>, partition: Partition, gone: &[InstanceId]) -> Result<Reaped, Fault> {
        let base = self.base(partition);
        let about = rollcall_keyspace::gateways(base);
        let mut args = vec![traceparent_of(caller.span)];
        args.extend(gone.iter().map(|gateway| gateway_code(gateway).into()));
        let run = Run { about: &about, at: partition, bases: vec![base.clone()], args, batch: gone.len() };
        let (evicted, rooms, more, broken): (u64, u64, u64, Vec<String>) = self.write(caller, &REAP, run).await?;
        rollcall_telemetry::metrics::published("leave", evicted);
        let broken = broken.into_iter().map(RoomId::from).collect();
        Ok(Reaped { evicted, rooms, more: more == 1, broken })
    }
}
