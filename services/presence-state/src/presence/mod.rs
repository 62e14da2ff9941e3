//! What each command means: which script it runs, what else has to be kept, and what is answered. It knows nothing of
//! queues and messages.

mod evict;
mod join;
mod touch;

use std::sync::Arc;

use futures_util::future;
use protocol::{
    Code, Fault,
    command::{Command, Heartbeat, Leave, Outcome, SnapshotQuery},
};
use telemetry::propagation::TraceContext;
use tracing::Span;

use crate::store::{Beat, Store};

pub(crate) use join::{join, shares, tell};

/// Carries out one command that is not a join.
pub(crate) async fn carry_out(store: &Arc<Store>, span: &Span, command: &Command) -> Result<Outcome, Fault> {
    let trace = TraceContext::of(span);
    match command {
        Command::Join(one) => {
            let joined = join(store, span, &[(one, trace)]).await?;
            tell(span, &joined, 0);
            Ok(Outcome::Joined(joined))
        }
        Command::Heartbeat(beat) => {
            let mut outcomes = heartbeats(store, &[(beat, span)]).await?;
            outcomes.pop().ok_or_else(|| Fault::new(Code::Internal, "the heartbeat was not answered"))
        }
        Command::Leave(one) => leave(store, span, one, &trace).await,
        Command::Touch(one) => touch::touch(store, span, one).await,
        Command::Snapshot(query) => snapshot(store, span, query).await,
        Command::Reap(one) => evict::reap(store, span, one, &trace).await,
        Command::EvictNode(one) => evict::evict_node(store, span, one, &trace).await,
    }
}

/// Carries out heartbeats, in order, of any rooms of one place.
pub(crate) async fn heartbeats(store: &Arc<Store>, beats: &[(&Heartbeat, &Span)]) -> Result<Vec<Outcome>, Fault> {
    for (beat, span) in beats {
        span.record("presence.room_id", beat.room.as_str()).record("presence.conn_id", beat.conn.as_str());
    }
    let results = store.heartbeats(beats).await?;
    let taken = beats.iter().zip(&results).filter_map(|((beat, span), result)| match result {
        Beat::Taken { epoch, changed, .. } => {
            span.record("presence.epoch", *epoch as i64).record("presence.state_changed", *changed);
            Some(store.refresh(&beat.room, &beat.node))
        }
        _ => None,
    });
    future::join_all(taken).await;
    Ok(results.into_iter().map(Outcome::from).collect())
}

async fn leave(store: &Arc<Store>, span: &Span, leave: &Leave, trace: &TraceContext) -> Result<Outcome, Fault> {
    span.record("presence.room_id", leave.room.as_str()).record("presence.conn_id", leave.conn.as_str());
    let remaining = store.leave(span, leave, trace).await?;
    if remaining == Some(0) {
        store.emptied(&leave.room).await;
    }
    if leave.last_of_node {
        store.node_left(&leave.room, &leave.node).await;
    }
    Ok(Outcome::Left)
}

async fn snapshot(store: &Arc<Store>, span: &Span, query: &SnapshotQuery) -> Result<Outcome, Fault> {
    span.record("presence.room_id", query.room.as_str());
    let snapshot = store.snapshot(span, &query.room, query.known).await?;
    if let Some(snapshot) = &snapshot {
        span.record("presence.snapshot_size", snapshot.members.len() as i64);
    }
    Ok(snapshot.map_or(Outcome::Unchanged, Outcome::Snapshot))
}
