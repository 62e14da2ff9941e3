//! Which primary of a cluster has which hash slots. Checked twice a second. Histories are asked by the routing that this keeps.
//!
//! fred's `sync_cluster` runs on the task that sends all commands of a client, over a new connection to any node. While that node
//! does not answer (2 s), no command is sent to any other. So the slots are read with a plain command, and `sync_cluster` runs
//! only if fred's routing differs (F6 in `docs/internals/libraries.md`).

use std::{sync::Arc, time::Duration};

use fred::{
    clients::Client,
    interfaces::ClusterInterface as _,
    types::{Value, cluster::ClusterRouting, config::Server},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Watchdog;
use crate::link::{Link, server_of};

const CHECK_EVERY: Duration = Duration::from_millis(500);
/// How long to wait for a node; the next check may ask another one.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Checks the slots forever, and subscribes again to the channels whose slots moved: a primary that hands its slots to another
/// keeps its connections, and its subscribers receive nothing more (F4 in `docs/internals/libraries.md`).
pub(crate) async fn follow(link: Arc<Link>, watchdog: Arc<Watchdog>) {
    let client = link.subscriptions.client();
    let mut tick = interval(CHECK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<ClusterRouting> = None;
    loop {
        tick.tick().await;
        // Both clients: a replica accepts SPUBLISH too, and answers 0 when all subscribers are at the primary, so a client that
        // keeps publishing there takes every instance for gone. Errors are reported by the connections themselves.
        let Some(slots) = read_slots(&link.commands).await else { continue };
        if update_routing(&link.commands, &slots).await.is_err() || update_routing(client, &slots).await.is_err() {
            continue;
        }
        let Some(now) = client.cached_cluster_state() else { continue };
        let Some(before) = &known else {
            known = Some(now);
            continue;
        };
        if primaries(&now) == primaries(before) {
            continue;
        }
        tracing::info!("cluster slots moved; subscribing again to their channels");
        watchdog.resubscribe(|channel| server_of(&now, channel) != server_of(before, channel)).await;
        // A server that had not heard of the move yet sends the client back to the old one. The next check begins from `before`
        // then, and subscribes once more.
        if client.cached_cluster_state().is_some_and(|routing| primaries(&routing) == primaries(&now)) {
            known = Some(now);
        }
    }
}

/// The slots as any node reports them.
async fn read_slots(client: &Client) -> Option<ClusterRouting> {
    let slots = timeout(ANSWER_TIMEOUT, client.cluster_slots::<Value>()).await.ok()?.ok()?;
    // The empty host is for a node that does not know its own; only the ids count here.
    ClusterRouting::from_cluster_slots(slots, "").ok()
}

/// Updates a client's routing if it differs from `slots`. Nodes may disagree for a moment after a failover; the next check repairs that.
async fn update_routing(client: &Client, slots: &ClusterRouting) -> Result<(), fred::error::Error> {
    if client.cached_cluster_state().is_some_and(|routing| ids(&routing) == ids(slots)) {
        return Ok(());
    }
    client.sync_cluster().await
}

/// The ranges of slots with the id of their primary.
fn ids(routing: &ClusterRouting) -> Vec<(u16, u16, String)> {
    let mut ids: Vec<_> = routing.slots().iter().map(|range| (range.start, range.end, range.id.to_string())).collect();
    ids.sort_unstable();
    ids
}

/// The first slot of each range with its primary.
fn primaries(routing: &ClusterRouting) -> Vec<(u16, Server)> {
    let mut primaries: Vec<_> = routing.slots().iter().map(|range| (range.start, range.primary.clone())).collect();
    primaries.sort_unstable_by_key(|(start, _)| *start);
    primaries
}
