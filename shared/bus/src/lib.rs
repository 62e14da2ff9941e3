//! The bus: how an instance of a service finds another, asks it something, answers, and hears what rooms do; all of it
//! over Redis' sharded pub/sub (`SPUBLISH`, `SSUBSCRIBE`; Redis or Valkey 7 or newer). It knows who is alive and who
//! waits for which reply; it knows nothing of presence keys.
//!
//! - `redis`: the two connections, commands and subscriptions.
//! - `directory`: who is alive, by leases; who serves a key, by rendezvous hash.
//! - `request`: the sending side; `outbox`: what leaves together.
//! - `hearing`: the receiving side, with the probe of the own inbox.
//! - `subscriptions`: the channels that must survive a reconnect.

mod directory;
mod hearing;
mod outbox;
pub mod redis;
mod rendezvous;
mod request;
pub mod script;
pub mod subjects;
mod subscriptions;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fred::{clients::Client, interfaces::ClientLike as _};
use protocol::{
    Code, Fault, InstanceId,
    command::Outcome,
    envelope::{Envelope, Item, Kind, VERSION, wall_clock_ms},
};
use serde_json::value::RawValue;
use telemetry::metrics::{self, Reading};

pub use directory::{Peer, Role, View};
pub use rendezvous::choose;
pub use request::{Answer, DEADLINE};

use crate::{directory::Directory, hearing::Hearing, request::Requests, subscriptions::Subscriptions};

/// Bytes of one answer. A larger one would come near what Redis keeps for a subscriber (32 MiB) before it cuts it off,
/// and with it everything that the gateway hears.
pub const REPLY_LIMIT: usize = 8 * 1024 * 1024;
/// Redis counts as away when it has not answered for this long, three renewals of the lease.
pub(crate) const SILENT_AFTER_MS: u64 = 1_500;

/// What a service does with what it hears. Called on the one task that reads the subscription, in order: it must not
/// block.
pub trait Listener: Send + Sync + 'static {
    /// Requests came.
    fn on_request(&self, _envelope: &Envelope<'_>) {}
    /// A room said something.
    fn on_event(&self, _channel: &str, _text: &str) {}
    /// Something may have been missed: the subscription was away or too slow.
    fn on_gap(&self) {}
}

/// An instance's place on the bus.
pub struct Bus {
    instance: InstanceId,
    role: Role,
    commands: Client,
    subscriptions: Subscriptions,
    directory: Directory,
    requests: Requests,
    hearing: Hearing,
    listener: OnceLock<Arc<dyn Listener>>,
    next_id: AtomicU64,
}

impl Bus {
    /// Connects, without waiting for Redis: until it answers, the instance is unready and every call is refused.
    pub fn connect(redis: redis::Redis, role: Role, instance: InstanceId) -> Arc<Self> {
        Arc::new(Self {
            instance,
            role,
            commands: redis.commands,
            subscriptions: Subscriptions::new(redis.subscriber),
            directory: Directory::default(),
            requests: Requests::default(),
            hearing: Hearing::default(),
            listener: OnceLock::new(),
            next_id: AtomicU64::new(1),
        })
    }

    /// Begins to listen and to renew the own lease.
    pub fn start(self: &Arc<Self>, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(listener);
        self.subscriptions.want(subjects::inbox(&self.instance));
        tokio::spawn(hearing::read(Arc::clone(self)));
        tokio::spawn(hearing::follow_reconnects(Arc::clone(self)));
        tokio::spawn(hearing::probe(Arc::clone(self)));
        if self.commands.is_clustered() {
            tokio::spawn(hearing::follow_slots(Arc::clone(self)));
        }
        tokio::spawn(directory::renew(Arc::clone(self)));
        tokio::spawn(request::watch(Arc::clone(self)));
        self.show();
    }

    /// Has metrics look at the bus.
    fn show(self: &Arc<Self>) {
        let show = |reading, see: fn(&Self) -> f64| {
            let bus = Arc::clone(self);
            metrics::observe(reading, move || Some(see(&bus)));
        };
        show(Reading::RedisUp, |bus| f64::from(bus.check_redis().is_ok()));
        show(Reading::SubscriptionDeaf, |bus| f64::from(bus.check_hearing().is_err()));
        // presence-state answers and asks nothing.
        if self.role != Role::State {
            show(Reading::RequestsPending, |bus| bus.requests.pending() as f64);
        }
    }

    /// The own name.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
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

    /// Takes the own entry out of the directory: the goodbye that tells a stopped gateway from a lost one.
    pub async fn goodbye(&self) {
        directory::goodbye(self).await;
    }

    /// Forgets a lost gateway for which everything was done; `false` when it is back, or Redis did not answer.
    pub async fn forget(&self, gateway: &Peer) -> bool {
        directory::forget(self, gateway).await
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

    /// Whether commands reach Redis: connected, and the lease was renewed lately.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check_redis(&self) -> Result<(), String> {
        if !self.commands.is_connected() {
            return Err("not connected".to_owned());
        }
        match self.directory.age_ms() {
            Some(age) if age < SILENT_AFTER_MS => Ok(()),
            Some(age) => Err(format!("no answer for {age} ms")),
            None => Err("no answer yet".to_owned()),
        }
    }

    /// Whether Redis is away, or was within `time`: what depends on who was heard of lately is not to be trusted then.
    pub fn was_redis_away(&self, time: Duration) -> bool {
        self.directory.was_silent(time)
    }

    /// Whether the own inbox is heard.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check_hearing(&self) -> Result<(), String> {
        self.hearing.check()
    }

    /// Whether a presence-state instance is there to ask.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check_states(&self) -> Result<(), String> {
        if self.view().peers(Role::State).is_empty() { Err("no instance is alive".to_owned()) } else { Ok(()) }
    }

    fn envelope<'a>(&self, kind: Kind, items: Vec<Item<'a>>) -> Envelope<'a> {
        Envelope {
            version: VERSION,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            kind,
            sender: self.instance.clone(),
            reply_to: subjects::inbox(&self.instance),
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
