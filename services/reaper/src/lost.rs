//! Lost gateways: a lease that ended without a goodbye. What such a gateway held is evicted at once, room by room, and
//! only then is its entry forgotten, so that a reaper that dies meanwhile leaves the rest to the next.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bus::{Bus, Peer};
use fred::interfaces::SetsInterface as _;
use futures_util::{StreamExt as _, stream};
use protocol::{
    Code, Fault, RoomId,
    command::{Command, EvictNode, Outcome},
};
use telemetry::propagation::TraceContext;
use tokio::time::{MissedTickBehavior, interval};

use crate::is_ours;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Rooms that are evicted from at a time.
const TOGETHER: usize = 32;

/// Looks for lost gateways, for ever.
pub(crate) async fn run(bus: Arc<Bus>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whose rooms could not be cleared; each is told once, however often it is tried.
    let mut failing = HashSet::new();
    loop {
        tick.tick().await;
        let view = bus.view();
        failing.retain(|gateway| view.lost_gateways().iter().any(|lost| lost.instance == *gateway));
        for gateway in view.lost_gateways() {
            if is_ours(&bus, gateway.instance.as_str())
                && let Err(fault) = evict(&bus, gateway).await
                && failing.insert(gateway.instance.clone())
            {
                tracing::warn!(fault, gateway = %gateway.instance, "a lost gateway's rooms were not all cleared; tried until they are");
            }
        }
    }
}

async fn evict(bus: &Arc<Bus>, gateway: &Peer) -> Result<(), String> {
    let rooms: Vec<String> =
        bus.commands().smembers(keyspace::node_rooms(&gateway.instance)).await.map_err(|error| error.to_string())?;
    let count = rooms.len();
    let evictions = stream::iter(rooms).map(|room| evict_room(bus, gateway, room.into())).buffer_unordered(TOGETHER);
    let (mut evicted, mut away) = (0, None);
    for result in evictions.collect::<Vec<_>>().await {
        match result {
            Ok(count) => evicted += count,
            Err(fault) => away = Some(fault.to_string()),
        }
    }
    telemetry::metrics::evicted("node_lost", evicted);
    if let Some(fault) = away {
        return Err(fault);
    }
    if bus.forget(gateway).await {
        tracing::warn!(gateway = %gateway.instance, rooms = count, evicted, "a gateway was lost; its connections were evicted");
    }
    Ok(())
}

/// How many were evicted.
async fn evict_room(bus: &Arc<Bus>, gateway: &Peer, room: RoomId) -> Result<u64, Fault> {
    let command = Command::EvictNode(EvictNode {
        room: room.clone(),
        node: gateway.instance.clone(),
        lease_end_ms: gateway.lease_end_ms,
    });
    match bus.call(room.as_str(), &command, TraceContext::default()).await {
        Ok(answer) => Ok(match &*answer.outcome {
            Outcome::Evicted { count, .. } => *count,
            _ => 0,
        }),
        // A room that cannot be read is not better the next time; what is left in it runs out by itself.
        Err(fault) if fault.code == Code::Internal => {
            tracing::error!(%room, %fault, gateway = %gateway.instance, "a room cannot be cleared of a lost gateway");
            Ok(0)
        }
        Err(fault) => Err(fault),
    }
}
