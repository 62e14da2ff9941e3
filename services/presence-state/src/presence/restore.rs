//! Gateways put their own records back, and compare counts with what is stored.

use std::sync::Arc;

use protocol::{
    Fault,
    command::{Audit, Outcome, Restore},
};

use crate::store::{Caller, Store};

/// Makes a room's records of one gateway what that gateway says they are.
pub(crate) async fn restore(store: &Arc<Store>, caller: Caller<'_>, restore: &Restore) -> Result<Outcome, Fault> {
    caller.span.record("presence.room_id", restore.room.as_str());
    caller.span.record("presence.connections", restore.members.len() as i64);
    let written = store.restore(caller, restore).await?;
    telemetry::metrics::published("join", written);
    let removed = match &restore.strays {
        Some(strays) => store.prune(caller, restore, strays).await?,
        None => 0,
    };
    if written + removed > 0 {
        tracing::info!(room = %restore.room, gateway = %restore.gateway, written, removed, "put records back");
    }
    Ok(Outcome::Restored { written, removed })
}

/// Compares a partition's counts with what a gateway has there.
pub(crate) async fn audit(store: &Arc<Store>, caller: Caller<'_>, audit: &Audit) -> Result<Outcome, Fault> {
    let audited = store.audit(caller, audit).await?;
    // What differs may be under way; only the gateway knows, and says so.
    if audited.removed > 0 {
        let (partition, gateway, removed) = (audit.partition, &audit.gateway, audited.removed);
        tracing::info!(%partition, %gateway, removed, "an audit removed records of connections that are gone");
    }
    Ok(Outcome::Audited { differing: audited.differing, removed: audited.removed })
}
