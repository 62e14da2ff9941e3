//! The channels that this instance wants. fred restores plain subscriptions after a reconnect but not sharded
//! ones (10.1, one server), so the list is kept and replayed here.
//!
//! Each channel is a command of its own. Redis confirms channels, and fred takes each confirmation for the answer to the
//! oldest command that has none: those of an `SSUBSCRIBE` with two channels would be taken for answers to what comes
//! after it, and what waits for these would go on too early.

use std::{collections::HashSet, time::Duration};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::PubsubInterface as _,
};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::time::timeout;

/// Confirmations that are waited for together. They share the time that one command may take.
const TOGETHER: usize = 512;

/// A little longer than what fred gives a command.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);

pub(crate) struct Subscriptions {
    client: Client,
    wanted: Mutex<HashSet<String>>,
    /// Locked by the replay that is under way; whether the last one reached its end.
    complete: tokio::sync::Mutex<bool>,
}

/// Waits for confirmations, but not forever: fred loses some while the slots of a cluster move, and waits on.
async fn confirmed<T>(subscribed: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(CONFIRMED_WITHIN, subscribed).await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "not confirmed")))
}

impl Subscriptions {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, wanted: Mutex::default(), complete: tokio::sync::Mutex::new(true) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn want(&self, channel: String) {
        self.wanted.lock().insert(channel);
    }

    /// Resolves when Redis has confirmed it.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        self.want(channel.to_owned());
        self.client.ssubscribe(channel).await
    }

    /// From this call on the channel is not wanted; the future resolves when `SUNSUBSCRIBE` is on its way, which Redis does
    /// not confirm. Its value says whether something may have been missed, because the channel is wanted again.
    pub(crate) fn unsubscribe(&self, channel: &str) -> impl Future<Output = bool> + use<'_> {
        self.wanted.lock().remove(channel);
        let channel = channel.to_owned();
        async move {
            if let Err(error) = self.client.sunsubscribe(&channel).await {
                tracing::debug!(%error, channel, "could not unsubscribe");
            }
            if !self.wanted.lock().contains(&channel) {
                return false;
            }
            // The SSUBSCRIBE that asked for it again may have gone first.
            if let Err(error) = self.client.ssubscribe(&channel).await {
                tracing::debug!(%error, channel, "could not subscribe again");
            }
            true
        }
    }

    /// Whether the last replay failed on the way, and none is under way.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.complete.try_lock().is_ok_and(|complete| !*complete)
    }

    /// Subscribes to everything that is wanted, to `last` after all else: if that is received, so is the rest.
    pub(crate) async fn replay(&self, last: &str) -> Result<(), Error> {
        let mut complete = self.complete.lock().await;
        *complete = false;
        let wanted: Vec<String> = self.wanted.lock().iter().filter(|channel| *channel != last).cloned().collect();
        for channels in wanted.chunks(TOGETHER) {
            confirmed(try_join_all(channels.iter().map(|channel| self.client.ssubscribe(channel)))).await?;
        }
        confirmed(self.client.ssubscribe(last)).await?;
        *complete = true;
        Ok(())
    }

    /// Has everything subscribed again although the last replay reached its end: nothing is received.
    pub(crate) async fn invalidate(&self) {
        *self.complete.lock().await = false;
    }
}
