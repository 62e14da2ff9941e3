//! Restores and audits: gateways restore the records of their own members, and compare counts with what Redis has.

use std::sync::Arc;

use rollcall_protocol::{
    Fault,
    command::{Audit, Outcome, Restore},
};

use crate::store::{Caller, Store};

/// Replaces the records that a room has of one gateway by what that gateway sent.
pub(crate) async fn restore(store: &Arc<Store>, caller: Caller<'_>, restore: &Restore) -> Result<Outcome, Fault> {
    caller.span.record("presence.room_id", restore.room.as_str());
    caller.span.record("presence.connections", restore.members.len() as i64);
    let written = store.restore(caller, restore).await?;
    rollcall_telemetry::metrics::published("join", written);
    let removed = match &restore.strays {
        Some(strays) => store.prune(caller, restore, strays).await?,
        None => 0,
    };
    if written + removed > 0 {
        tracing::info!(room = %restore.room, gateway = %restore.gateway, written, removed, "records restored");
    }
    Ok(Outcome::Restored { written, removed })
}

/// Compares the counts of a partition with what a gateway has there.
pub(crate) async fn audit(store: &Arc<Store>, caller: Caller<'_>, audit: &Audit) -> Result<Outcome, Fault> {
    let audited = store.audit(caller, audit).await?;
    // Not logged: `differing` may be due to joins or leaves under way, which only the gateway can tell.
    if audited.removed > 0 {
        let (partition, gateway, removed) = (audit.partition, &audit.gateway, audited.removed);
        tracing::info!(%partition, %gateway, removed, "audit removed records of closed connections");
    }
    Ok(Outcome::Audited { differing: audited.differing, removed: audited.removed })
}
