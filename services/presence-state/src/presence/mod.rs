//! Presence commands: which script each of them runs and how it is answered. Nothing here knows of queues or messages.

mod evict;
mod join;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rollcall_protocol::{
    Code, Fault,
    command::{Heartbeat, Leave, Outcome, SnapshotQuery},
};
use tracing::Span;

use crate::store::{Beat, Caller, Read, Store};

pub(crate) use evict::reap;
pub(crate) use join::{join, record_join, shares};
pub(crate) use restore::{audit, restore};

/// Carries out heartbeats, in order, in any rooms of one slot.
pub(crate) async fn heartbeats(
    store: &Store,
    deadline_ms: u64,
    beats: &[(&Heartbeat, &Span)],
) -> Result<Vec<Outcome>, Fault> {
    for (beat, span) in beats {
        span.record("presence.room_id", beat.room.as_str()).record("presence.conn_id", beat.conn.as_str());
    }
    let results = store.heartbeats(deadline_ms, beats).await?;
    let updates = results.iter().filter(|result| matches!(result, Beat::Taken { changed: true, .. })).count();
    rollcall_telemetry::metrics::published("update", updates as u64);
    for ((_, span), result) in beats.iter().zip(&results) {
        if let Beat::Taken { epoch, changed, .. } = result {
            span.record("presence.epoch", *epoch as i64).record("presence.state_changed", *changed);
        }
    }
    Ok(results.into_iter().map(outcome).collect())
}

fn outcome(beat: Beat) -> Outcome {
    match beat {
        Beat::Missing => Outcome::Missing,
        Beat::Stale { epoch } => Outcome::Stale { epoch },
        Beat::Conflict { epoch, op, info, state } => Outcome::Conflict { epoch, op, info, state },
        Beat::Taken { epoch, op, changed } => Outcome::Beat { changed, epoch, op },
        Beat::Overtaken => Outcome::Fault(Fault::new(Code::Timeout, "a later heartbeat was there first")),
        Beat::Full => Outcome::Fault(Fault::new(
            Code::Overloaded,
            "the room is full: the states of its members are 8 MiB together; nothing was changed",
        )),
    }
}

pub(crate) async fn leave(store: &Store, caller: Caller<'_>, leave: &Leave) -> Result<Outcome, Fault> {
    let span = caller.span;
    span.record("presence.room_id", leave.room.as_str())
        .record("presence.conn_id", leave.conn.as_str())
        .record("presence.reason", leave.reason.as_str());
    let remaining = store.leave(caller, leave).await?;
    if let Some(remaining) = remaining {
        span.record("presence.remaining", remaining as i64);
    }
    rollcall_telemetry::metrics::published("leave", u64::from(remaining.is_some()));
    Ok(Outcome::Left)
}

pub(crate) async fn snapshot(store: &Arc<Store>, span: &Span, query: &SnapshotQuery) -> Result<Outcome, Fault> {
    span.record("presence.room_id", query.room.as_str());
    match store.snapshot(span, &query.room, query.known).await? {
        Read::Unchanged => Ok(Outcome::Unchanged),
        Read::Room(snapshot, gone) => {
            span.record("presence.snapshot_size", snapshot.members.len() as i64);
            evict::gone(store, span, &query.room, gone);
            Ok(Outcome::Snapshot(snapshot))
        }
    }
}
