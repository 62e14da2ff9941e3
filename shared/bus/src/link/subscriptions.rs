//! The channels of this instance. fred does not restore sharded subscriptions reliably after a reconnect, so the list is kept
//! and replayed here (F3 in `docs/internals/libraries.md`).
//!
//! Each channel is a command of its own. Redis confirms channels, and fred takes each confirmation for the answer to the
//! oldest command without one. The second confirmation of an `SSUBSCRIBE` with two channels would complete the next
//! command too early (F5).

use std::{collections::HashSet, time::Duration};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::PubsubInterface as _,
};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::time::timeout;

/// Confirmations awaited together. They share the time limit of one command.
const REPLAY_BATCH: usize = 512;

/// Slightly longer than fred's command timeout.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Subscriptions {
    client: Client,
    wanted: Mutex<HashSet<String>>,
    /// Whether the last replay was completed. Locked while one is running.
    complete: tokio::sync::Mutex<bool>,
}

/// Waits for confirmations, but not forever: fred loses some while the slots of a cluster move, and keeps waiting.
async fn confirmed<T>(subscribed: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(CONFIRMATION_TIMEOUT, subscribed)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "not confirmed")))
}

impl Subscriptions {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, wanted: Mutex::default(), complete: tokio::sync::Mutex::new(true) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn add(&self, channel: String) {
        self.wanted.lock().insert(channel);
    }

    /// Resolves when Redis has confirmed it.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        self.add(channel.to_owned());
        self.client.ssubscribe(channel).await
    }

    /// Removes the channel from the list at once. The future resolves when `SUNSUBSCRIBE` was sent, which Redis does not
    /// confirm. Its value says whether events may have been missed, because the channel was added again meanwhile.
    pub(crate) fn unsubscribe(&self, channel: &str) -> impl Future<Output = bool> + use<'_> {
        self.wanted.lock().remove(channel);
        let channel = channel.to_owned();
        async move {
            if let Err(error) = self.client.sunsubscribe(&channel).await {
                tracing::debug!(%error, channel, "unsubscribing failed");
            }
            if !self.wanted.lock().contains(&channel) {
                return false;
            }
            // The SSUBSCRIBE of the new subscriber may have been sent first.
            if let Err(error) = self.client.ssubscribe(&channel).await {
                tracing::debug!(%error, channel, "subscribing again failed");
            }
            true
        }
    }

    /// Whether the last replay failed and none is running.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.complete.try_lock().is_ok_and(|complete| !*complete)
    }

    /// Subscribes to every channel, to `last` at the end: if `last` is received, so are the others.
    pub(crate) async fn replay(&self, last: &str) -> Result<(), Error> {
        let mut complete = self.complete.lock().await;
        *complete = false;
        let wanted: Vec<String> = self.wanted.lock().iter().filter(|channel| *channel != last).cloned().collect();
        for channels in wanted.chunks(REPLAY_BATCH) {
            confirmed(try_join_all(channels.iter().map(|channel| self.client.ssubscribe(channel)))).await?;
        }
        confirmed(self.client.ssubscribe(last)).await?;
        *complete = true;
        Ok(())
    }

    /// Marks the last replay as incomplete, so that everything is subscribed again.
    pub(crate) async fn invalidate(&self) {
        *self.complete.lock().await = false;
    }
}
