//! What there may be to do in a partition. Finding is cheap and writes nothing; presence-state checks again before it ends
//! anything.

use std::{collections::BTreeMap, sync::LazyLock};

use bus::{Bus, redis, script::Script};
use fred::{error::Error, interfaces::ClientLike as _, types::cluster::ClusterRouting};
use futures_util::{StreamExt as _, stream};
use protocol::{InstanceId, Partition};
use tracing::Span;

/// Partitions that one call looks at, and names of gateways that it may answer: with more gateways a call has fewer partitions,
/// so that none holds Redis up.
const TOGETHER: usize = 64;
const GATEWAYS: usize = 4_096;
/// Calls that are under way at a time; on a cluster, where a call has one partition, and those to a primary that does not answer
/// take 1.5 s each and must not keep the others waiting.
const CALLS: usize = 4;
const CALLS_OF_CLUSTER: usize = 128;

static LOOK: LazyLock<Script> =
    LazyLock::new(|| Script::new("partition_look", include_str!("scripts/partition_look.lua")));

/// A partition as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: Partition,
    /// Gateways that have records there, alive or not.
    pub(crate) gateways: Vec<InstanceId>,
    /// For how long its most overdue room is due, in milliseconds; `None` if nothing is.
    pub(crate) overdue_ms: Option<u64>,
    /// Rooms that have members.
    pub(crate) rooms: u64,
    /// Why it could not be read.
    pub(crate) wrong: Option<String>,
}

/// Looks at partitions. `gateways` is how many there are about. Those that a primary does not answer for are left out, and the
/// error stands beside the others.
pub(crate) async fn look(bus: &Bus, partitions: &[Partition], gateways: usize) -> (Vec<Seen>, Option<Error>) {
    let most = (GATEWAYS / gateways.max(1)).clamp(1, TOGETHER);
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

/// Codes of gateways, for how long something is due, rooms, what is wrong.
type Found = (Vec<String>, i64, u64, String);

async fn look_at(bus: &Bus, partitions: Vec<Partition>) -> Result<Vec<Seen>, Error> {
    let keys = partitions.iter().map(|partition| bus.subjects().partition(*partition)).collect();
    // No span: it is asked each cycle, and most often there is nothing to do.
    let found = LOOK.run::<Vec<Found>>(bus.commands(), keys, Vec::new());
    let found = redis::observed(Span::none(), "evalsha", LOOK.name(), found).await?;
    let seen = partitions.into_iter().zip(found).map(|(partition, (gateways, overdue_ms, rooms, wrong))| Seen {
        partition,
        gateways: gateways.iter().map(|code| keyspace::gateway_of(code)).collect(),
        overdue_ms: u64::try_from(overdue_ms).ok(),
        rooms,
        wrong: Some(wrong).filter(|wrong| !wrong.is_empty()),
    });
    Ok(seen.collect())
}
