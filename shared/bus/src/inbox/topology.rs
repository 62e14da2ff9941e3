//! Which primary of a cluster has which hash slots. Asked twice a second, for subscriptions and for histories.
//!
//! fred's own question, `sync_cluster`, is put by the task that sends all commands of a client, on a new connection to any node;
//! while that node does not answer (2 s) no command is sent to any other. So the cluster is asked with a plain command, and
//! fred only where its routing is another.

use std::{sync::Arc, time::Duration};

use fred::{
    clients::Client,
    interfaces::ClusterInterface as _,
    types::{Value, cluster::ClusterRouting, config::Server},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Watchdog;
use crate::{directory::Histories, link::Link};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A node that does not answer within this time is not waited for; the next question goes to another.
const ANSWER: Duration = Duration::from_millis(500);

/// Looks where the slots are, forever, and subscribes again when that changed: a primary that hands its slots to a replica keeps
/// its connections, and anyone who is subscribed there receives nothing more.
pub(crate) async fn follow(link: Arc<Link>, watchdog: Arc<Watchdog>, histories: Arc<Histories>) {
    let client = link.subscriptions.client();
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        tick.tick().await;
        // Both: a replica takes SPUBLISH too, and answers 0 when all subscribers are at the primary, so that anyone who goes on
        // publishing there takes every instance for gone. An error is a cluster that cannot be asked; the connections say so.
        let Some(said) = ask(&link.commands).await else { continue };
        if follow_with(&link.commands, &said).await.is_err() || follow_with(client, &said).await.is_err() {
            continue;
        }
        let Some(routing) = client.cached_cluster_state() else { continue };
        let now = Some(primaries(&routing));
        if now == known {
            continue;
        }
        histories.route(&routing);
        if known.is_some() {
            tracing::info!("slots of the cluster have moved; everything is subscribed again");
            watchdog.resubscribe().await;
        }
        known = now;
    }
}

/// What any node says.
async fn ask(client: &Client) -> Option<ClusterRouting> {
    let said = timeout(ANSWER, client.cluster_slots::<Value>()).await.ok()?.ok()?;
    // The host stands for a node that does not know its own; only the ids count here.
    ClusterRouting::from_cluster_slots(said, "").ok()
}

/// Has a client's routing be what was said. Nodes disagree for a moment after a failover; then it is asked again.
async fn follow_with(client: &Client, said: &ClusterRouting) -> Result<(), fred::error::Error> {
    if client.cached_cluster_state().is_some_and(|routing| ids(&routing) == ids(said)) {
        return Ok(());
    }
    client.sync_cluster().await
}

/// The ranges of slots with the id of the node that has them.
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
