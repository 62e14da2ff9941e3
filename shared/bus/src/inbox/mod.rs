//! The receiving side: one task reads the subscription and hands on what comes, in order: replies to the requests that wait
//! for them, all else to the listener.
//!
//! - `watchdog`: probes whether the own inbox is still received, and subscribes again if it is not.
//! - `topology`: where the slots of a cluster are; subscribes again when they moved.

mod topology;
mod watchdog;

use std::sync::Arc;

use fred::{interfaces::EventInterface as _, types::Message};
use protocol::{
    Partition,
    command::Outcome,
    envelope::{Envelope, Kind, Unreadable, VERSION},
};
use tokio::sync::broadcast::error::RecvError;

pub(crate) use self::{
    topology::follow as follow_topology,
    watchdog::{Probes, Watchdog},
};
use crate::{directory::Directory, link::Link, requests::Pending};

/// What a service does with what it receives. None of these may block: requests and events come from the one task that reads
/// the subscription, in order, the others from tasks of the bus.
pub trait Listener: Send + Sync + 'static {
    /// Requests came.
    fn on_request(&self, _envelope: &Envelope<'_>) {}
    /// An event of a room came.
    fn on_event(&self, _channel: &str, _text: &str) {}
    /// Something may have been missed: the subscription was away or too slow.
    fn on_gap(&self) {}
    /// What Redis holds of these partitions may be older than what it said before, or gone: their server has another
    /// replication id, was silent for 1.5 s or longer, has a clock that stepped, or has a new connection; or they have moved to
    /// another server. Called when the server answers again. May be called twice for one fault; never for the own start.
    fn on_history(&self, _partitions: &[Partition]) {}
}

/// See the module.
pub(crate) struct Inbox {
    pub(crate) link: Arc<Link>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) listener: Arc<dyn Listener>,
}

impl Inbox {
    /// Reads the subscription, forever.
    pub(crate) async fn read(self) {
        let mut messages = self.link.subscriptions.client().message_rx();
        loop {
            match messages.recv().await {
                Ok(message) => self.take(&message),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "the subscription was read too slowly; rooms are brought up to date");
                    self.listener.on_gap();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn take(&self, message: &Message) {
        let Some(text) = message.value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()) else {
            tracing::warn!(channel = %message.channel, "dropped a message that is not text");
            return;
        };
        if !self.link.subjects.is_inbox(&message.channel) {
            self.listener.on_event(&message.channel, text);
            return;
        }
        match Envelope::read(text) {
            Ok(envelope) => self.hand_on(&envelope),
            Err(Unreadable::Version(version)) => {
                tracing::warn!(version, known = VERSION, "dropped a message of an unknown version");
            }
            Err(Unreadable::Malformed) => tracing::warn!("dropped a malformed message"),
        }
    }

    fn hand_on(&self, envelope: &Envelope<'_>) {
        match envelope.kind {
            Kind::Probe => {
                if self.probes.received(envelope.sender == self.link.instance) {
                    self.directory.look_soon();
                }
            }
            Kind::Request => self.listener.on_request(envelope),
            Kind::Reply => {
                for item in &envelope.items {
                    match serde_json::from_str::<Outcome>(item.body.get()) {
                        Ok(outcome) => self.pending.resolve(&item.ids, outcome),
                        Err(error) => tracing::warn!(%error, sender = %envelope.sender, "dropped an unreadable reply"),
                    }
                }
            }
        }
    }
}
