//! Lost gateways: a lease that ended without a goodbye. What such a gateway held is evicted at once, room by room, and
//! only then is its entry forgotten, so that a reaper that dies meanwhile leaves the rest to the next.

use std::{sync::Arc, time::Duration};

use bus::{Bus, Peer};
use fred::interfaces::SetsInterface as _;
use futures_util::{StreamExt as _, stream};
use protocol::{
    RoomId,
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
    loop {
        tick.tick().await;
        for gateway in bus.view().lost_gateways() {
            if is_ours(&bus, gateway.instance.as_str()) {
                evict(&bus, gateway).await;
            }
        }
    }
}

async fn evict(bus: &Arc<Bus>, gateway: &Peer) {
    let rooms: Vec<String> = match bus.commands().smembers(keyspace::node_rooms(&gateway.instance)).await {
        Ok(rooms) => rooms,
        Err(error) => {
            tracing::warn!(%error, gateway = %gateway.instance, "the rooms of a lost gateway could not be read; tried again");
            return;
        }
    };
    let count = rooms.len();
    let evictions = stream::iter(rooms).map(|room| evict_room(bus, gateway, room.into())).buffer_unordered(TOGETHER);
    let results = evictions.collect::<Vec<_>>().await;
    if results.iter().any(Option::is_none) {
        tracing::warn!(gateway = %gateway.instance, "a lost gateway's rooms were not all cleared; tried again");
        return;
    }
    let evicted: u64 = results.into_iter().flatten().sum();
    telemetry::metrics::evicted("node_lost", evicted);
    if bus.forget(gateway).await {
        tracing::warn!(gateway = %gateway.instance, rooms = count, evicted, "a gateway was lost; its connections were evicted");
    }
}

/// How many were evicted; `None` when it has to be tried again.
async fn evict_room(bus: &Arc<Bus>, gateway: &Peer, room: RoomId) -> Option<u64> {
    let command = Command::EvictNode(EvictNode {
        room: room.clone(),
        node: gateway.instance.clone(),
        lease_end_ms: gateway.lease_end_ms,
    });
    match &*bus.call(room.as_str(), &command, TraceContext::default()).await.ok()?.outcome {
        Outcome::Evicted { count, .. } => Some(*count),
        _ => None,
    }
}
