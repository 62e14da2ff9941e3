//! Joins. Joins of one room that arrive together share one script call and one snapshot.

use std::sync::Arc;

use rollcall_protocol::{
    Fault,
    command::{Join, Joined},
};
use rollcall_telemetry::propagation::TraceContext;

use crate::store::{Caller, Store};

/// Whether a join may share a call with others. A join that may replace its own record may not: the snapshots of the others
/// would miss the member between its old and its new record.
pub(crate) fn shares(join: &Join) -> bool {
    join.known_epoch == 0
}

/// Adds connections to their room.
pub(crate) async fn join(
    store: &Arc<Store>,
    caller: Caller<'_>,
    joins: &[(&Join, TraceContext)],
) -> Result<Joined, Fault> {
    let Some((first, _)) = joins.first() else {
        return Ok(Joined { generation: 0, seen_ms: 0, before: Vec::new(), joins: Vec::new() });
    };
    let made = store.join(caller, &first.room, joins).await?;
    super::evict::gone(store, caller.span, &first.room, made.gone);
    let joined = made.joined;
    // A join that replaces its own record is alone in its call, and is an update to the others.
    let is_again = joins.len() == 1 && joined.before.iter().any(|member| member.conn == first.conn);
    let count = joined.joins.iter().filter(|join| join.member.is_some()).count();
    rollcall_telemetry::metrics::published(if is_again { "update" } else { "join" }, count as u64);
    Ok(joined)
}

/// Records the result of the join at `index` in its span.
pub(crate) fn record_join(span: &tracing::Span, joined: &Joined, index: usize) {
    if let Some(member) = joined.joins.get(index).and_then(|join| join.member.as_ref()).filter(|_| !span.is_disabled())
    {
        span.record("presence.epoch", member.epoch as i64)
            .record("presence.snapshot_size", joined.seen_by(index).count() as i64);
    }
}
