//! The channels that this instance wants to hear. fred restores plain subscriptions after a reconnect but not sharded
//! ones (10.1, one server), so the list is kept and replayed here.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike as _, PubsubInterface as _},
};

/// Channels to a command where all of them live on one server.
const CHUNK: usize = 256;

pub(crate) struct Subscriptions {
    client: Client,
    wanted: Mutex<HashSet<String>>,
}

impl Subscriptions {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, wanted: Mutex::default() }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn want(&self, channel: String) {
        self.lock().insert(channel);
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        self.want(channel.to_owned());
        self.client.ssubscribe(channel).await
    }

    pub(crate) async fn unsubscribe(&self, channel: &str) {
        self.lock().remove(channel);
        if let Err(error) = self.client.sunsubscribe(channel).await {
            tracing::debug!(%error, channel, "could not unsubscribe");
        }
        // Somebody may have wanted it again meanwhile, and their SSUBSCRIBE may have gone first.
        let wanted_again = self.lock().contains(channel);
        if wanted_again && let Err(error) = self.client.ssubscribe(channel).await {
            tracing::debug!(%error, channel, "could not subscribe again");
        }
    }

    /// Subscribes to everything that is wanted.
    pub(crate) async fn replay(&self) -> Result<(), Error> {
        let wanted: Vec<String> = self.lock().iter().cloned().collect();
        // On a cluster the channels of one command must share a slot.
        let chunk = if self.client.is_clustered() { 1 } else { CHUNK };
        for channels in wanted.chunks(chunk) {
            self.client.ssubscribe(channels.to_vec()).await?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
