//! Joins: those of one room that came together are made by one script call and share one snapshot.

use std::sync::Arc;

use protocol::{
    Fault,
    command::{Join, Joined},
};
use telemetry::propagation::TraceContext;

use crate::store::{Caller, Store};

/// Whether a join may share a call with others. One that may replace a record of its own may not: the others' snapshots
/// would lack the member between its old record and its new one.
pub(crate) fn shares(join: &Join) -> bool {
    join.known_epoch == 0
}

/// Puts connections into their room.
pub(crate) async fn join(
    store: &Arc<Store>,
    caller: Caller<'_>,
    joins: &[(&Join, TraceContext)],
) -> Result<Joined, Fault> {
    let Some((first, _)) = joins.first() else {
        return Ok(Joined { birth: 0, seen_ms: 0, before: Vec::new(), joins: Vec::new() });
    };
    let made = store.join(caller, &first.room, joins).await?;
    super::evict::gone(store, caller.span, &first.room, made.gone);
    let joined = made.joined;
    // One that replaces a record of its own comes alone, and is an update to the others.
    let is_again = joins.len() == 1 && joined.before.iter().any(|member| member.conn == first.conn);
    let count = joined.joins.iter().filter(|join| join.member.is_some()).count();
    telemetry::metrics::published(if is_again { "update" } else { "join" }, count as u64);
    Ok(joined)
}

/// Notes in the span of the join at `index` what became of it.
pub(crate) fn note(span: &tracing::Span, joined: &Joined, index: usize) {
    if let Some(member) = joined.joins.get(index).and_then(|join| join.member.as_ref()).filter(|_| !span.is_disabled())
    {
        span.record("presence.epoch", member.epoch as i64)
            .record("presence.snapshot_size", joined.seen_by(index).count() as i64);
    }
}
