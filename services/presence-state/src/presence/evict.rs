//! Evictions of connections whose gateway is gone. The caller may have read the leases long ago, so they are checked again here.

use std::sync::Arc;

use rollcall_protocol::{
    Code, Fault, RoomId,
    command::{Outcome, Reap},
    envelope::wall_clock_ms,
    event::Reason,
};
use tracing::{Instrument as _, Span};

use crate::store::{Caller, Clearing, Eviction, Reaped, Store};

/// The most script calls of one reap. If more is left, the reaper asks again.
const CALLS: u32 = 10;

/// Evicts about 200 connections of the `gateways` from a room, if these are gone. Runs in the background.
pub(super) fn gone(store: &Arc<Store>, span: &Span, room: &RoomId, mut gateways: Vec<String>) {
    if gateways.is_empty() {
        return;
    }
    let Some(clearing) = store.begin_clearing(room) else { return };
    let (span, parent) = (span.clone(), span.clone());
    let work = async move {
        let Clearing { store, room } = &clearing;
        if store.refresh_leases().await {
            gateways.retain(|code| store.is_gone(&rollcall_keyspace::gateway_of(code)));
            evict(store, &span, room, &gateways).await;
        }
    };
    store.spawn("eviction", work.instrument(parent));
}

async fn evict(store: &Store, span: &Span, room: &RoomId, gateways: &[String]) {
    if gateways.is_empty() {
        return;
    }
    let eviction = Eviction { room, gateways, reason: Reason::NodeLost, before_ms: 0, stay: &[], with_locks: true };
    let caller = Caller { span, deadline_ms: wall_clock_ms() + rollcall_bus::DEADLINE.as_millis() as u64 };
    match store.evict(caller, &eviction, None).await {
        Ok((_, evicted)) => rollcall_telemetry::metrics::evicted("node_lost", evicted),
        Err(error) => {
            tracing::debug!(%room, %error, "eviction failed; the reaper will evict the connections");
        }
    }
}

/// Evicts the connections of gone gateways from a partition, and ends locks and waits that have expired.
pub(crate) async fn reap(store: &Arc<Store>, caller: Caller<'_>, reap: &Reap) -> Result<Outcome, Fault> {
    // A gateway that has just started may have members before this instance has seen its lease.
    if !reap.gone.is_empty() && !store.refresh_leases().await {
        return Err(Fault::new(Code::Unavailable, "the leases cannot be read right now; nothing was evicted"));
    }
    let gone: Vec<_> = reap.gone.iter().filter(|gateway| store.is_gone(gateway)).cloned().collect();
    let mut total = Reaped::default();
    for _ in 0..CALLS {
        let reaped = store.reap(caller, reap.partition, &gone).await?;
        total.evicted += reaped.evicted;
        total.rooms += reaped.rooms;
        total.more = reaped.more;
        for room in reaped.broken {
            tracing::error!(%room, partition = %reap.partition, "room skipped: it cannot be read");
        }
        if !total.more {
            break;
        }
    }
    rollcall_telemetry::metrics::evicted("node_lost", total.evicted);
    caller.span.record("presence.evicted", total.evicted as i64).record("presence.rooms", total.rooms as i64);
    Ok(Outcome::Reaped { evicted: total.evicted, rooms: total.rooms, more: total.more })
}
