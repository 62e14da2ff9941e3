//! Finds work in partitions. Finding is cheap and writes nothing; presence-state checks again before it ends anything.

use std::{collections::BTreeMap, sync::LazyLock};

use fred::{error::Error, interfaces::ClientLike as _, types::cluster::ClusterRouting};
use futures_util::{StreamExt as _, stream};
use rollcall_bus::{Bus, redis, script::Script};
use rollcall_protocol::{InstanceId, Partition};
use tracing::Span;

/// Partitions per call, and names of gateways per answer: with more gateways a call has fewer partitions, so that no call blocks
/// Redis for long.
const PARTITIONS_PER_CALL: usize = 64;
const GATEWAYS_PER_ANSWER: usize = 4_096;
/// Concurrent calls. On a cluster a call has one partition, and calls to a primary that does not answer take 1.5 s each and must
/// not delay the others.
const CALLS: usize = 4;
const CALLS_OF_CLUSTER: usize = 128;

static LOOK: LazyLock<Script> =
    LazyLock::new(|| Script::new("partition_look", include_str!("scripts/partition_look.lua")));

/// What was found in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: Partition,
    /// Gateways that have records there, alive or not.
    pub(crate) gateways: Vec<InstanceId>,
    /// How long its most overdue room has been due, in milliseconds; `None` if nothing is due.
    pub(crate) overdue_ms: Option<u64>,
    /// Rooms that have members.
    pub(crate) rooms: u64,
    /// The error, if the partition could not be read.
    pub(crate) error: Option<String>,
}

/// Reads partitions. `gateways` is the approximate number of gateways. Partitions whose primary does not answer are left out, and
/// the error is returned next to the others.
pub(crate) async fn look(bus: &Bus, partitions: &[Partition], gateways: usize) -> (Vec<Seen>, Option<Error>) {
    let most = (GATEWAYS_PER_ANSWER / gateways.max(1)).clamp(1, PARTITIONS_PER_CALL);
    let at_a_time = if bus.commands().is_clustered() { CALLS_OF_CLUSTER } else { CALLS };
    let calls = stream::iter(calls(bus, partitions, most)).map(|call| look_at(bus, call)).buffer_unordered(at_a_time);
    let (mut seen, mut error) = (Vec::new(), None);
    for result in calls.collect::<Vec<_>>().await {
        match result {
            Ok(found) => seen.extend(found),
            Err(other) => error = Some(other),
        }
    }
    (seen, error)
}

/// The partitions of each call. On a cluster all keys of a call lie in one hash slot.
fn calls(bus: &Bus, partitions: &[Partition], most: usize) -> Vec<Vec<Partition>> {
    let mut slots: BTreeMap<u16, Vec<Partition>> = BTreeMap::new();
    for partition in partitions {
        let base = || bus.subjects().partition(*partition);
        let slot = if bus.commands().is_clustered() { ClusterRouting::hash_key(base().as_bytes()) } else { 0 };
        slots.entry(slot).or_default().push(*partition);
    }
    slots.values().flat_map(|together| together.chunks(most)).map(<[_]>::to_vec).collect()
}

/// Codes of gateways, how long something has been due, rooms, error.
type Found = (Vec<String>, i64, u64, String);

async fn look_at(bus: &Bus, partitions: Vec<Partition>) -> Result<Vec<Seen>, Error> {
    let keys: Vec<_> = partitions.iter().map(|partition| bus.subjects().partition(*partition)).collect();
    // No span: it runs in every cycle, and usually finds nothing.
    let found = LOOK.run::<Vec<Found>>(bus.commands(), keys, Vec::new());
    let found = redis::observed(Span::none(), "evalsha", LOOK.name(), found).await?;
    let seen = partitions.into_iter().zip(found).map(|(partition, (gateways, overdue_ms, rooms, error))| Seen {
        partition,
        gateways: gateways.iter().map(|code| rollcall_keyspace::gateway_of(code)).collect(),
        overdue_ms: u64::try_from(overdue_ms).ok(),
        rooms,
        error: Some(error).filter(|error| !error.is_empty()),
    });
    Ok(seen.collect())
}
