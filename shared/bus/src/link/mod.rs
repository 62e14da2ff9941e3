//! This instance's link to Redis: commands, names, subscriptions, and published envelopes. The rest of the bus builds on it.

mod subscriptions;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike as _, PubsubInterface as _},
    types::{FromValue, Value},
};
use rollcall_protocol::{
    InstanceId,
    envelope::{Envelope, Item, Kind, VERSION},
};
use tracing::Span;

use self::subscriptions::Subscriptions;
pub(crate) use self::subscriptions::{Replayed, server_of};
use crate::{redis, script::Script, subjects::Subjects};

/// Whether this instance receives what is sent to its inbox.
pub(crate) type CanReceive = Arc<dyn Fn() -> bool + Send + Sync>;

pub(crate) struct Link {
    pub(crate) instance: InstanceId,
    pub(crate) commands: Client,
    pub(crate) subjects: Subjects,
    pub(crate) subscriptions: Subscriptions,
    /// The own inbox.
    pub(crate) inbox: String,
    next_id: AtomicU64,
}

impl Link {
    pub(crate) fn new(commands: Client, subscriber: Client, subjects: Subjects, instance: InstanceId) -> Self {
        let inbox = subjects.inbox(&instance);
        let subscriptions = Subscriptions::new(subscriber);
        Self { instance, commands, subjects, subscriptions, inbox, next_id: AtomicU64::new(1) }
    }

    /// Whether there is a connection for commands.
    pub(crate) fn is_connected(&self) -> bool {
        self.commands.is_connected()
    }

    pub(crate) fn is_clustered(&self) -> bool {
        self.commands.is_clustered()
    }

    /// Runs a script of the bus. It has no span, because it belongs to no request.
    pub(crate) async fn run<R: FromValue>(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<R, Error> {
        redis::observed(Span::none(), "evalsha", script.name(), script.run(&self.commands, keys, args)).await
    }

    /// Publishes an envelope; returns how many instances received it.
    pub(crate) async fn publish(&self, kind: Kind, channel: &str, items: Vec<Item<'_>>) -> Result<u64, Error> {
        let envelope = Envelope {
            version: VERSION,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            kind,
            sender: self.instance.clone(),
            reply_to: self.inbox.clone(),
            items,
        };
        let text = Value::Bytes(envelope.write().map_err(|_| Error::new_canceled())?.into());
        // No span: traced requests have one for the message, and probes are not traced.
        let sent = redis::redirected(|| self.commands.spublish(channel, text.clone()));
        redis::observed(Span::none(), "spublish", "", sent).await
    }

    /// Publishes an empty message; returns how many instances received it.
    pub(crate) async fn probe(&self, channel: &str) -> Result<u64, Error> {
        self.publish(Kind::Probe, channel, Vec::new()).await
    }
}
