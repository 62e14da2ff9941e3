//! Evictions, most of them asked for by the reaper. The scripts decide who is stale; here the indexes follow.

use std::sync::Arc;

use protocol::{
    Fault, RoomId,
    command::{EvictNode, Outcome, Reap},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::store::{Evicted, Store};

fn tell(span: &Span, evicted: &Evicted) {
    span.record("presence.evicted", evicted.count as i64).record("presence.remaining", evicted.remaining as i64);
}

pub(crate) async fn reap(store: &Arc<Store>, span: &Span, reap: &Reap, trace: &TraceContext) -> Result<Outcome, Fault> {
    span.record("presence.room_id", reap.room.as_str());
    let (evicted, due) = store.reap(span, &reap.room, trace).await?;
    tell(span, &evicted);
    match due {
        Some(due_ms) => store.due(&reap.room, due_ms).await,
        None => store.emptied(&reap.room).await,
    }
    expired(&reap.room, evicted.count);
    Ok(Outcome::Evicted { count: evicted.count, remaining: evicted.remaining })
}

/// So many have outlived their TTL and were evicted.
pub(super) fn expired(room: &RoomId, count: u64) {
    telemetry::metrics::published("leave", count);
    if count > 0 {
        tracing::info!(%room, evicted = count, "evicted the expired");
    }
}

pub(crate) async fn evict_node(
    store: &Arc<Store>,
    span: &Span,
    evict: &EvictNode,
    trace: &TraceContext,
) -> Result<Outcome, Fault> {
    span.record("presence.room_id", evict.room.as_str());
    let evicted = store.evict_node(span, evict, trace).await?;
    tell(span, &evicted);
    telemetry::metrics::published("leave", evicted.count);
    store.node_left(&evict.room, &evict.node).await;
    if evicted.remaining == 0 {
        store.emptied(&evict.room).await;
    }
    Ok(Outcome::Evicted { count: evicted.count, remaining: evicted.remaining })
}
