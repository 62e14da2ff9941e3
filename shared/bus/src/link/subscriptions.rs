//! The channels of this instance. fred does not restore sharded subscriptions reliably after a reconnect, so the list is kept
//! and replayed here, as far as it may be lost (F3 in `docs/internals/libraries.md`).
//!
//! Each channel is a command of its own. Redis confirms channels, and fred takes each confirmation for the answer to the
//! oldest command without one. The second confirmation of an `SSUBSCRIBE` with two channels would complete the next
//! command too early (F5).

use std::{
    collections::{HashMap, HashSet},
    mem,
    time::Duration,
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClusterInterface as _, PubsubInterface as _},
    types::{cluster::ClusterRouting, config::Server},
};
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::redis::{reason, subscribed};

/// Confirmations awaited together. They share the time limit of one command.
const REPLAY_BATCH: usize = 512;

/// Slightly longer than fred's command timeout.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Subscriptions {
    client: Client,
    wanted: Mutex<HashSet<String>>,
    /// What may be lost and has to be subscribed again.
    due: Mutex<Due>,
    /// Locked while a replay is running.
    replaying: tokio::sync::Mutex<()>,
    /// Why the last replay failed, if it did.
    failure: Mutex<Option<String>>,
}

/// Channels that have to be subscribed again.
#[derive(Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    None,
    Some(HashSet<String>),
    /// All that are wanted.
    All,
}

/// What a replay subscribed again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// Every channel.
    All,
    /// These channels. What failed is still due.
    Some(Vec<String>),
}

impl Replayed {
    /// Whether a channel is among them.
    pub(crate) fn has(&self, channel: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(channels) => channels.iter().any(|one| one == channel),
        }
    }
}

impl Due {
    fn add(&mut self, more: Due) {
        match (&mut *self, more) {
            (Self::All, _) | (_, Self::None) => {}
            (Self::Some(channels), Self::Some(more)) => channels.extend(more),
            (due, more) => *due = more,
        }
    }
}

/// Waits for confirmations, but not forever: fred loses some while the slots of a cluster move, and keeps waiting.
async fn confirmed<T>(subscribed: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(CONFIRMATION_TIMEOUT, subscribed)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "not confirmed")))
}

impl Subscriptions {
    pub(crate) fn new(client: Client) -> Self {
        let (wanted, due, failure) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { client, wanted, due, replaying: tokio::sync::Mutex::default(), failure }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Why channels cannot be subscribed to, in Redis' words; `None` while they can.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    pub(crate) fn add(&self, channel: String) {
        self.wanted.lock().insert(channel);
    }

    /// Resolves when Redis has confirmed it.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        self.add(channel.to_owned());
        subscribed(|| self.client.ssubscribe(channel)).await
    }

    /// Removes the channel from the list at once. The future resolves when `SUNSUBSCRIBE` was sent, which Redis does not
    /// confirm. Its value is the channel if events may have been missed, because it was added again meanwhile.
    pub(crate) fn unsubscribe(&self, channel: &str) -> impl Future<Output = Option<String>> + use<'_> {
        self.wanted.lock().remove(channel);
        let channel = channel.to_owned();
        async move {
            if let Err(error) = self.client.sunsubscribe(&channel).await {
                tracing::debug!(%error, channel, "unsubscribing failed");
            }
            if !self.wanted.lock().contains(&channel) {
                return None;
            }
            // The SSUBSCRIBE of the new subscriber may have been sent first.
            if let Err(error) = subscribed(|| self.client.ssubscribe(&channel)).await {
                tracing::debug!(%error, channel, "subscribing again failed");
            }
            Some(channel)
        }
    }

    /// Whether something is due and no replay is running.
    pub(crate) fn is_incomplete(&self) -> bool {
        *self.due.lock() != Due::None && self.replaying.try_lock().is_ok()
    }

    /// Any subscription may be lost: the next replay subscribes to every channel.
    pub(crate) fn invalidate_all(&self) {
        self.due.lock().add(Due::All);
    }

    /// These subscriptions may be lost: the next replay subscribes to them.
    pub(crate) fn invalidate(&self, is_lost: impl Fn(&str) -> bool) {
        let lost: HashSet<_> = self.wanted.lock().iter().filter(|channel| is_lost(channel)).cloned().collect();
        if !lost.is_empty() {
            self.due.lock().add(Due::Some(lost));
        }
    }

    /// Subscribes to what is due, to `last` at the end of its server's channels: if `last` is received, so are they. Each
    /// server's channels succeed or fail together, since its confirmations cannot be told apart; what fails stays due.
    pub(crate) async fn replay(&self, last: &str) -> Replayed {
        let _replaying = self.replaying.lock().await;
        let due = mem::take(&mut *self.due.lock());
        let is_all = due == Due::All;
        let is_due = |channel: &String| match &due {
            Due::None => false,
            Due::Some(channels) => channels.contains(channel),
            Due::All => true,
        };
        let channels: Vec<_> = self.wanted.lock().iter().filter(|channel| is_due(channel)).cloned().collect();
        let mut replayed = Vec::new();
        let mut failed = HashSet::new();
        let groups = self.by_server(channels);
        let confirmed = join_all(groups.iter().map(|channels| self.subscribe_again(channels, last))).await;
        for (channels, confirmed) in groups.into_iter().zip(confirmed) {
            match confirmed {
                Ok(()) => replayed.extend(channels),
                Err(error) => {
                    // The probe tries twice a second: a cause is logged once.
                    let error = reason(&self.client, &error, true);
                    let last = self.failure.lock().replace(error.clone());
                    if last.is_none_or(|last| last != error) {
                        let channels = channels.len();
                        tracing::warn!(error, channels, "resubscribing failed; the probe will try again");
                    }
                    failed.extend(channels);
                }
            }
        }
        if failed.is_empty() {
            *self.failure.lock() = None;
            return if is_all { Replayed::All } else { Replayed::Some(replayed) };
        }
        self.due.lock().add(Due::Some(failed));
        Replayed::Some(replayed)
    }

    async fn subscribe_again(&self, channels: &[String], last: &str) -> Result<(), Error> {
        let (at_the_end, channels): (Vec<_>, Vec<_>) = channels.iter().partition(|channel| *channel == last);
        for channels in channels.chunks(REPLAY_BATCH).chain([&*at_the_end]) {
            let each = channels.iter().map(|channel| subscribed(move || self.client.ssubscribe(*channel)));
            confirmed(try_join_all(each)).await?;
        }
        Ok(())
    }

    /// The channels of each primary of a cluster; all together without one.
    fn by_server(&self, channels: Vec<String>) -> Vec<Vec<String>> {
        let Some(routing) = self.client.cached_cluster_state() else { return vec![channels] };
        let mut servers = HashMap::<_, Vec<_>>::new();
        for channel in channels {
            servers.entry(server_of(&routing, &channel).cloned()).or_default().push(channel);
        }
        servers.into_values().collect()
    }
}

/// The primary that has the slot of a channel; none while no one has it.
pub(crate) fn server_of<'a>(routing: &'a ClusterRouting, channel: &str) -> Option<&'a Server> {
    routing.get_server(ClusterRouting::hash_key(channel.as_bytes()))
}

#[cfg(test)]
mod tests {
    use fred::interfaces::ClientLike as _;
    use rollcall_testkit::Cluster;

    use super::*;
    use crate::redis::{Config, connect};

    fn some(channels: &[&str]) -> Due {
        Due::Some(channels.iter().map(|channel| (*channel).to_owned()).collect())
    }

    #[test]
    fn what_is_due_adds_up() {
        let mut due = Due::None;
        due.add(Due::None);
        assert_eq!(due, Due::None);
        due.add(some(&["a"]));
        due.add(some(&["b"]));
        due.add(Due::None);
        assert_eq!(due, some(&["a", "b"]));
        due.add(Due::All);
        due.add(some(&["c"]));
        assert_eq!(due, Due::All);
    }

    /// The client learns of the move by the answer of the old server.
    #[tokio::test]
    async fn a_first_subscription_and_a_replay_follow_a_slot_that_has_just_moved() {
        let cluster = Cluster::start();
        let client = connect(Config::from_url(&cluster.url()).unwrap()).unwrap().subscriber;
        client.wait_for_connect().await.unwrap();
        let subscriptions = Subscriptions::new(client);
        let channel = "prs:{p17}:events:room";
        subscriptions.subscribe(channel).await.unwrap();

        let slot = ClusterRouting::hash_key(channel.as_bytes());
        let source = usize::from(slot) * 3 / 16_384;
        let [second, third] = [1, 2].map(|n| (source + n) % 3);
        cluster.migrate(slot, source, second);
        subscriptions.subscribe(channel).await.unwrap();
        cluster.migrate(slot, second, third);
        subscriptions.invalidate_all();
        let replayed = subscriptions.replay("").await;
        assert_eq!((subscriptions.failure(), replayed), (None, Replayed::All));
    }
}
