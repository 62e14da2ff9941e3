//! The receiving side: one task reads the subscription and dispatches messages in order: replies to the requests that wait for
//! them, everything else to the listener.
//!
//! - `watchdog`: probes whether the own inbox is still received, and subscribes again if it is not.
//! - `large`: large replies, which are read elsewhere.
//! - `topology`: which primary of a cluster has which slots; subscribes again to channels whose slots moved.

mod large;
mod topology;
mod watchdog;

use std::sync::Arc;

use fred::{interfaces::EventInterface as _, types::Message};
use rollcall_protocol::{
    Partition,
    command::Outcome,
    envelope::{Envelope, Kind, Unreadable, VERSION},
};
use tokio::sync::broadcast::error::RecvError;

pub(crate) use self::{
    large::LargeReplies,
    topology::follow as follow_topology,
    watchdog::{Probes, Watchdog},
};
use crate::{directory::Directory, link::Link, requests::Pending};

/// How a service handles what it receives. No method may block: requests and events are delivered in order by the one task that
/// reads the subscription, the rest by tasks of the bus.
pub trait Listener: Send + Sync + 'static {
    /// Requests were received.
    fn on_request(&self, _envelope: &Envelope<'_>) {}
    /// An event of a room was received.
    fn on_event(&self, _channel: &str, _text: &str) {}
    /// Events of any room may have been missed: the subscription was interrupted or lagged.
    fn on_gap(&self) {}
    /// Events of this channel may have been missed: it was subscribed to again, alone or with other channels of its server.
    fn on_channel_gap(&self, _channel: &str) {}
    /// Redis may have lost changes of these partitions: their server has another replication id, was silent for 1.5 s or longer,
    /// has a clock that stepped, or has a new connection; or the partitions moved to another server. Called when the server
    /// answers again. May be called twice for one fault; never for the own start.
    fn on_history(&self, _partitions: &[Partition]) {}
}

/// See the module.
pub(crate) struct Inbox {
    pub(crate) link: Arc<Link>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) listener: Arc<dyn Listener>,
    pub(crate) large: LargeReplies,
}

impl Inbox {
    /// Reads the subscription, forever.
    pub(crate) async fn read(self) {
        let mut messages = self.link.subscriptions.client().message_rx();
        loop {
            match messages.recv().await {
                Ok(message) => self.dispatch(message),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "subscription lagged; rooms are brought up to date");
                    self.listener.on_gap();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn dispatch(&self, message: Message) {
        if !self.link.subjects.is_inbox(&message.channel) {
            if let Some(text) = text(&message) {
                self.listener.on_event(&message.channel, text);
            }
        } else if let Some(message) = self.large.take(message)
            && let Some(envelope) = envelope(&message)
        {
            self.route(&envelope);
        }
    }

    fn route(&self, envelope: &Envelope<'_>) {
        match envelope.kind {
            Kind::Probe => {
                if self.probes.received(envelope.sender == self.link.instance) {
                    self.directory.refresh_soon();
                }
            }
            Kind::Request => self.listener.on_request(envelope),
            Kind::Reply => resolve(&self.pending, envelope),
        }
    }
}

/// Resolves the requests that a large reply answers.
pub(crate) fn resolve_large(pending: &Pending, message: &Message) {
    if let Some(envelope) = envelope(message) {
        resolve(pending, &envelope);
    }
}

fn resolve(pending: &Pending, envelope: &Envelope<'_>) {
    for item in &envelope.items {
        match serde_json::from_str::<Outcome>(item.body.get()) {
            Ok(outcome) => pending.resolve(&item.ids, outcome),
            Err(error) => tracing::warn!(%error, sender = %envelope.sender, "dropped unreadable reply"),
        }
    }
}

fn text(message: &Message) -> Option<&str> {
    let text = message.value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
    if text.is_none() {
        tracing::warn!(channel = %message.channel, "dropped message that is not text");
    }
    text
}

fn envelope(message: &Message) -> Option<Envelope<'_>> {
    match Envelope::read(text(message)?) {
        Ok(envelope) => return Some(envelope),
        Err(Unreadable::Version(version)) => {
            tracing::warn!(version, known = VERSION, "dropped message of an unknown version");
        }
        Err(Unreadable::Malformed) => tracing::warn!("dropped malformed message"),
    }
    None
}
