//! What each command of presence means: which script it runs, what else has to be kept, and what is answered. It knows nothing of
//! queues and messages.

mod evict;
mod join;
mod touch;

use std::sync::Arc;

use futures_util::future;
use protocol::{
    Fault,
    command::{Heartbeat, Leave, Outcome, SnapshotQuery},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::store::{Beat, Store};

pub(crate) use evict::{evict_node, reap};
pub(crate) use join::{join, shares, tell};
pub(crate) use touch::touch;

/// Carries out heartbeats, in order, of any rooms of one place.
pub(crate) async fn heartbeats(store: &Arc<Store>, beats: &[(&Heartbeat, &Span)]) -> Result<Vec<Outcome>, Fault> {
    for (beat, span) in beats {
        span.record("presence.room_id", beat.room.as_str()).record("presence.conn_id", beat.conn.as_str());
    }
    let results = store.heartbeats(beats).await?;
    let updates = results.iter().filter(|result| matches!(result, Beat::Taken { changed: true, .. })).count();
    telemetry::metrics::published("update", updates as u64);
    let taken = beats.iter().zip(&results).filter_map(|((beat, span), result)| match result {
        Beat::Taken { epoch, changed, .. } => {
            span.record("presence.epoch", *epoch as i64).record("presence.state_changed", *changed);
            Some(store.refresh(span, &beat.room, &beat.node))
        }
        _ => None,
    });
    future::join_all(taken).await;
    Ok(results.into_iter().map(Outcome::from).collect())
}

pub(crate) async fn leave(
    store: &Arc<Store>,
    span: &Span,
    leave: &Leave,
    trace: &TraceContext,
) -> Result<Outcome, Fault> {
    span.record("presence.room_id", leave.room.as_str())
        .record("presence.conn_id", leave.conn.as_str())
        .record("presence.reason", leave.reason.as_str());
    let remaining = store.leave(span, leave, trace).await?;
    if let Some(remaining) = remaining {
        span.record("presence.remaining", remaining as i64);
    }
    telemetry::metrics::published("leave", u64::from(remaining.is_some()));
    if remaining == Some(0) {
        store.emptied(&leave.room).await;
    }
    if leave.last_of_node {
        store.node_left(&leave.room, &leave.node).await;
    }
    Ok(Outcome::Left)
}

pub(crate) async fn snapshot(store: &Arc<Store>, span: &Span, query: &SnapshotQuery) -> Result<Outcome, Fault> {
    span.record("presence.room_id", query.room.as_str());
    let snapshot = store.snapshot(span, &query.room, query.known).await?;
    if let Some(snapshot) = &snapshot {
        span.record("presence.snapshot_size", snapshot.members.len() as i64);
    }
    Ok(snapshot.map_or(Outcome::Unchanged, Outcome::Snapshot))
}
