//! Joins: those of one room that came together are made by one script call and share one snapshot.

use std::{collections::HashSet, sync::Arc};

use futures_util::future;
use protocol::{
    Fault,
    command::{Join, Joined},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::store::Store;

/// Whether a join may share a call with others. One that may replace a record of its own may not: the others' snapshots
/// would lack the member between its old record and its new one.
pub(crate) fn shares(join: &Join) -> bool {
    join.restore || join.known_epoch == 0
}

/// Puts connections into their room.
pub(crate) async fn join(store: &Arc<Store>, span: &Span, joins: &[(&Join, TraceContext)]) -> Result<Joined, Fault> {
    let Some((first, _)) = joins.first() else {
        return Ok(Joined { birth: 0, before: Vec::new(), joins: Vec::new() });
    };
    let room = &first.room;
    let nodes: HashSet<_> = joins.iter().map(|(join, _)| &join.node).collect();
    // The indexes first: a gateway that dies right after the join must be found to have been in the room.
    let indexes = future::join_all(nodes.into_iter().map(|node| store.entered(span, room, node)));
    let (_, joined) = future::join(indexes, store.join(span, room, joins)).await;
    let (joined, evicted) = joined?;
    super::evict::expired(room, evicted);
    if evicted > 0 {
        span.record("presence.evicted", evicted as i64);
    }
    // Who replaces a record of its own comes alone, and is an update to the others.
    let is_again = joins.len() == 1 && joined.before.iter().any(|member| member.conn_id == first.conn);
    let count = joined.joins.iter().filter(|join| join.member.is_some()).count();
    telemetry::metrics::published(if is_again { "update" } else { "join" }, count as u64);
    Ok(joined)
}

/// Tells the span of the join at `index` what became of it.
pub(crate) fn tell(span: &Span, joined: &Joined, index: usize) {
    if let Some(join) = joined.joins.get(index).filter(|_| !span.is_disabled()) {
        span.record("presence.epoch", join.epoch as i64)
            .record("presence.snapshot_size", joined.seen_by(index).count() as i64);
    }
}
