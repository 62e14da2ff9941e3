//! The bus: how an instance of a service finds another, asks it something, answers, and hears what rooms do; all of it
//! over Redis' sharded pub/sub (`SPUBLISH`, `SSUBSCRIBE`; Redis or Valkey 7 or newer). It knows who is alive and who
//! waits for which reply; it knows nothing of presence keys.
//!
//! - `redis`: the two connections, commands and subscriptions.
//! - `directory`: who is alive, by leases; who serves a key, by rendezvous hash.
//! - `contact`: what a server's answers say about its history; `truce`: when no one may be evicted because of that;
//!   `history`: which partitions may have lost changes.
//! - `health`: what the bus says of itself: whether Redis answers, the age of the lease, the truce.
//! - `slots`: where the partitions of a cluster are.
//! - `request`: the sending side; `outbox`: what leaves together.
//! - `hearing`: the receiving side, with the probe of the own inbox.
//! - `subscriptions`: the channels that must survive a reconnect.

mod clock;
mod contact;
mod directory;
mod health;
mod hearing;
mod history;
mod outbox;
pub mod redis;
mod rendezvous;
mod request;
pub mod script;
mod slots;
mod subjects;
mod subscriptions;
mod trouble;
mod truce;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use fred::{clients::Client, interfaces::ClientLike as _};
use protocol::{
    Code, Fault, InstanceId, Partition,
    command::Outcome,
    envelope::{Envelope, Item, Kind, VERSION, wall_clock_ms},
};
use serde_json::value::RawValue;

pub use directory::{Role, View};
pub use rendezvous::choose;
pub use request::{Answer, DEADLINE};
pub use subjects::Subjects;
pub use truce::{Truce, Why};

use crate::{
    directory::Directory, hearing::Hearing, history::Histories, request::Requests, subscriptions::Subscriptions,
};

/// Bytes of one answer. A larger one would come near what Redis keeps for a subscriber (32 MiB) before it cuts it off,
/// and with it everything that the gateway hears.
pub const REPLY_LIMIT: usize = 8 * 1024 * 1024;
/// Redis counts as silent when it has not answered for this long, three renewals of the lease.
pub(crate) const SILENT_AFTER_MS: u64 = 1_500;

/// What a service does with what it hears. None of these may block: requests and events come from the one task that reads the
/// subscription, in order, the others from tasks of the bus.
pub trait Listener: Send + Sync + 'static {
    /// Requests came.
    fn on_request(&self, _envelope: &Envelope<'_>) {}
    /// A room said something.
    fn on_event(&self, _channel: &str, _text: &str) {}
    /// Something may have been missed: the subscription was away or too slow.
    fn on_gap(&self) {}
    /// What Redis holds of these partitions may be older than what it said before, or gone: their server has another
    /// replication id, was silent for 1.5 s or longer, has a clock that stepped, or has a new connection; or they have moved to
    /// another server. Called when the server answers again. May be called twice for one fault; never for the own start.
    fn on_history(&self, _partitions: &[Partition]) {}
}

/// An instance's place on the bus.
pub struct Bus {
    instance: InstanceId,
    role: Role,
    commands: Client,
    subjects: Subjects,
    subscriptions: Subscriptions,
    directory: Directory,
    requests: Requests,
    hearing: Hearing,
    histories: Histories,
    listener: OnceLock<Arc<dyn Listener>>,
    next_id: AtomicU64,
}

impl Bus {
    /// Connects, without waiting for Redis: until it answers, the instance is unready and every call is refused. The name
    /// begins with [`Role::service`] and a `-`, or no one finds the instance.
    pub fn connect(redis: redis::Redis, role: Role, instance: InstanceId) -> Arc<Self> {
        Arc::new(Self {
            instance,
            role,
            commands: redis.commands,
            subjects: redis.subjects,
            subscriptions: Subscriptions::new(redis.subscriber),
            directory: Directory::default(),
            requests: Requests::default(),
            hearing: Hearing::default(),
            histories: Histories::default(),
            listener: OnceLock::new(),
            next_id: AtomicU64::new(1),
        })
    }

    /// Begins to listen and to renew the own lease.
    pub fn start(self: &Arc<Self>, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(listener);
        self.subscriptions.want(self.subjects.inbox(&self.instance));
        tokio::spawn(hearing::read(Arc::clone(self)));
        tokio::spawn(hearing::follow_reconnects(Arc::clone(self)));
        tokio::spawn(hearing::probe(Arc::clone(self)));
        if self.commands.is_clustered() {
            tokio::spawn(slots::follow(Arc::clone(self)));
            tokio::spawn(history::follow_primaries(Arc::clone(self)));
        }
        self.histories.start(self);
        tokio::spawn(health::follow_errors(Arc::clone(self)));
        tokio::spawn(directory::renew(Arc::clone(self)));
        tokio::spawn(request::watch(Arc::clone(self)));
        self.show();
    }

    /// The own name.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The names of channels and keys.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The connection for commands.
    pub fn commands(&self) -> &Client {
        &self.commands
    }

    /// Who is alive, as last seen.
    pub fn view(&self) -> Arc<View> {
        self.directory.view()
    }

    /// Milliseconds of Redis' clock, reckoned from its last answer.
    pub fn redis_now_ms(&self) -> u64 {
        self.directory.redis_now_ms()
    }

    /// Subscribes to a channel, now and after every reconnect. Resolves when Redis has confirmed it.
    ///
    /// # Errors
    /// Redis did not confirm in time; the channel stays wanted and the next reconnect tries again.
    pub async fn subscribe(&self, channel: &str) -> Result<(), fred::error::Error> {
        self.subscriptions.subscribe(channel).await
    }

    /// Ends a subscription: from this call on, not from the first poll. What [`subscribe`](Self::subscribe) is called for
    /// later is subscribed.
    pub fn unsubscribe(&self, channel: &str) -> impl Future<Output = ()> + use<'_> {
        let ended = self.subscriptions.unsubscribe(channel);
        async {
            if ended.await {
                hearing::gap(self);
            }
        }
    }

    /// Removes the own entry from the directory, for good: the lease is not renewed after this call. Redis is waited for 1.5 s
    /// at most; if it does not answer, the lease ends by itself.
    pub async fn goodbye(&self) {
        directory::goodbye(self).await;
    }

    /// Answers requests of `reply_to`; each item has the ids that it answers. An answer over [`REPLY_LIMIT`] is refused
    /// as `OVERLOADED`.
    pub async fn reply(&self, reply_to: &str, items: &[(Vec<u64>, Arc<Outcome>)]) {
        let bodies: Vec<_> = items.iter().filter_map(|(ids, outcome)| Some((ids, answer(outcome)?))).collect();
        let mut rest = bodies.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(outbox::fitting(rest.iter().map(|(_, body)| &**body)));
            rest = later;
            let items =
                now.iter().map(|(ids, body)| Item { ids: (*ids).clone(), traceparent: None, tracestate: None, body });
            if let Err(error) = outbox::publish(self, Kind::Reply, reply_to, items.collect()).await {
                tracing::warn!(%error, to = reply_to, "replies could not be sent; their requests will time out");
            }
        }
    }

    fn envelope<'a>(&self, kind: Kind, items: Vec<Item<'a>>) -> Envelope<'a> {
        Envelope {
            version: VERSION,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            kind,
            sender: self.instance.clone(),
            reply_to: self.subjects.inbox(&self.instance),
            deadline_ms: wall_clock_ms() + DEADLINE.as_millis() as u64,
            items,
        }
    }
}

/// An outcome as it travels.
fn answer(outcome: &Outcome) -> Option<Box<RawValue>> {
    let body = serde_json::value::to_raw_value(outcome).ok()?;
    if body.get().len() <= REPLY_LIMIT {
        return Some(body);
    }
    tracing::error!(bytes = body.get().len(), limit = REPLY_LIMIT, "refused an answer: the room is too large");
    let fault = Fault::new(Code::Overloaded, "the room is too large: its members' states are over 8 MiB together");
    serde_json::value::to_raw_value(&Outcome::Fault(fault)).ok()
}
