//! The bus: how instances find each other, send requests, answer them, and receive the events of rooms, all over Redis'
//! sharded pub/sub (`SPUBLISH`, `SSUBSCRIBE`; Redis or Valkey 7 or newer). It knows which instances are alive and which
//! request waits for which reply. It knows no presence key.
//!
//! Its parts; each depends only on those before it (`./dev lint` checks this):
//!
//! - `clock`, `rendezvous`, `subjects` (names), `redis` (configuration, the two connections), `script` (Lua by its hash).
//! - `link`: commands, subscriptions that survive a reconnect, publishing.
//! - `directory`: who is alive, by leases; whether Redis can be trusted; which partitions may have lost changes.
//! - `revocations`: tokens that are not valid any more.
//! - `publisher`: outboxes, where requests for one instance collect, and replies.
//! - `requests`: requests that wait for a reply, until their deadline.
//! - `inbox`: reads the subscription and dispatches; checks that it is received, and which primary has which slots.
//!
//! [`Bus`] wires them and is what services see. `health` reports the state of the bus.

mod clock;
mod directory;
mod health;
mod inbox;
mod link;
mod publisher;
pub mod redis;
mod rendezvous;
mod requests;
pub mod revocations;
pub mod script;
mod subjects;

use std::{
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use fred::clients::Client;
use parking_lot::Mutex;
use rollcall_protocol::{Fault, InstanceId, command::Command};
use rollcall_service::{TaskFailed, Tasks};
use rollcall_telemetry::propagation::TraceContext;

pub use directory::{Role, Truce, View, Why};
pub use inbox::Listener;
pub use publisher::{Body, REPLY_LIMIT, Reply};
pub use rendezvous::choose;
pub use requests::{Answer, DEADLINE};
pub use subjects::Subjects;

use crate::{
    directory::{Directory, Histories, Lease, deregister, record_connection_errors},
    inbox::{Inbox, LargeReplies, Probes, Watchdog, follow_topology, resolve_large},
    link::{CanReceive, Link},
    publisher::Publisher,
    requests::{Pending, Requests},
    revocations::Revocations,
};

/// An instance's place on the bus.
pub struct Bus {
    role: Role,
    link: Arc<Link>,
    directory: Arc<Directory>,
    histories: Arc<Histories>,
    pending: Arc<Pending>,
    requests: Arc<Requests>,
    probes: Arc<Probes>,
    can_receive: CanReceive,
    listener: OnceLock<Arc<dyn Listener>>,
    /// The only owner of the tasks: they end with the bus.
    tasks: Arc<Tasks>,
    connections: Mutex<Option<[redis::Connection; 2]>>,
}

impl Bus {
    /// Connects without waiting for Redis. Until Redis answers, the instance is unready and every call is refused. The name
    /// must begin with [`Role::service`] and a `-`; otherwise no other instance finds it.
    pub fn connect(redis: redis::Redis, role: Role, instance: InstanceId) -> Arc<Self> {
        let link = Arc::new(Link::new(redis.commands, redis.subscriber, redis.subjects, instance));
        let directory = Arc::new(Directory::new(Arc::clone(&link)));
        let histories = Arc::new(Histories::new(Arc::clone(&link)));
        let tasks = Arc::new(Tasks::default());
        let pending = Arc::new(Pending::default());
        let publisher = Publisher::new(
            Arc::clone(&link),
            Arc::clone(&directory),
            Arc::clone(&pending) as Arc<_>,
            Arc::downgrade(&tasks),
        );
        let probes = Arc::new(Probes::default());
        let can_receive: CanReceive = Arc::new({
            let probes = Arc::clone(&probes);
            move || probes.check().is_ok()
        });
        let requests = Arc::new(Requests {
            link: Arc::clone(&link),
            directory: Arc::clone(&directory),
            publisher: Arc::new(publisher),
            pending: Arc::clone(&pending),
            can_receive: Arc::clone(&can_receive),
        });
        let (listener, connections) = (OnceLock::new(), Mutex::new(Some(redis.connections)));
        Arc::new(Self {
            role,
            link,
            directory,
            histories,
            pending,
            requests,
            probes,
            can_receive,
            listener,
            tasks,
            connections,
        })
    }

    /// Starts to listen and to renew the own lease.
    pub fn start(&self, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(Arc::clone(&listener));
        self.link.subscriptions.add(self.link.inbox.clone());
        let (link, histories) = (&self.link, &self.histories);
        let watchdog = Arc::new(Watchdog {
            link: Arc::clone(link),
            probes: Arc::clone(&self.probes),
            listener: Arc::clone(&listener),
            is_elsewhere: AtomicBool::default(),
        });
        let (large, large_replies) = LargeReplies::new();
        let inbox = Inbox {
            link: Arc::clone(link),
            directory: Arc::clone(&self.directory),
            probes: Arc::clone(&self.probes),
            pending: Arc::clone(&self.pending),
            listener: Arc::clone(&listener),
            large,
        };
        let tasks = &self.tasks;
        for connection in self.connections.lock().take().into_iter().flatten() {
            tasks.spawn_permanent("connection to Redis", connection.keep());
        }
        tasks.spawn_permanent("bus inbox", inbox.read());
        let pending = Arc::clone(&self.pending);
        tasks.spawn_permanent("bus large replies", large_replies.read(move |reply| resolve_large(&pending, reply)));
        tasks.spawn_permanent("bus reconnects", Arc::clone(&watchdog).follow_reconnects());
        tasks.spawn_permanent("bus probes", Arc::clone(&watchdog).probe());
        histories.start(Box::new(move |partitions| listener.on_history(partitions)));
        if link.is_clustered() {
            let topology = follow_topology(Arc::clone(link), watchdog);
            tasks.spawn_permanent("bus topology", topology);
            tasks.spawn_permanent("bus histories", Arc::clone(histories).follow_primaries());
        }
        let errors = record_connection_errors(Arc::clone(link), Arc::clone(&self.directory.last_error));
        tasks.spawn_permanent("bus connection errors", errors);
        let (directory, can_receive) = (Arc::clone(&self.directory), Arc::clone(&self.can_receive));
        let lease = Lease::new(Arc::clone(link), directory, Arc::clone(histories), can_receive);
        tasks.spawn_permanent("bus lease", lease.renew());
        tasks.spawn_permanent("bus requests", Arc::clone(&self.requests).probe_targets());
        self.register_metrics();
    }

    /// Resolves when a permanent task of the bus has ended or panicked. The process has to exit then.
    pub async fn failed(&self) -> TaskFailed {
        self.tasks.failed().await
    }

    /// The own name.
    pub fn instance(&self) -> &InstanceId {
        &self.link.instance
    }

    /// The names of channels and keys.
    pub fn subjects(&self) -> &Subjects {
        &self.link.subjects
    }

    /// The connection for commands.
    pub fn commands(&self) -> &Client {
        &self.link.commands
    }

    /// Sends a command to the presence-state instance that serves its partition, and waits for at most [`DEADLINE`]. A command
    /// that has not been carried out by then is not carried out later, nor is one whose future was dropped before it was sent.
    ///
    /// # Errors
    /// `UNAVAILABLE`: no instance is alive, or Redis does not answer. `TIMEOUT`: the command was sent and no reply came.
    /// `OVERLOADED`: a queue is full. Any fault that the instance answered.
    pub async fn call(&self, command: &Command, trace: TraceContext) -> Result<Answer, Fault> {
        self.requests.call(command, &trace).await
    }

    /// Answers requests of `reply_to`.
    pub async fn reply(&self, reply_to: &str, replies: &[Reply]) {
        publisher::reply(&self.link, reply_to, replies).await;
    }

    /// Subscribes to a channel, now and after every reconnect. Resolves when Redis has confirmed it.
    ///
    /// # Errors
    /// Redis did not confirm in time. The channel stays on the list, and the next reconnect tries again.
    pub async fn subscribe(&self, channel: &str) -> Result<(), redis::Error> {
        self.link.subscriptions.subscribe(channel).await
    }

    /// Ends a subscription as of this call, not of the first poll. A later [`subscribe`](Self::subscribe) wins.
    pub fn unsubscribe(&self, channel: &str) -> impl Future<Output = ()> + use<'_> {
        let ended = self.link.subscriptions.unsubscribe(channel);
        async {
            if let Some(channel) = ended.await
                && let Some(listener) = self.listener.get()
            {
                listener.on_channel_gap(&channel);
            }
        }
    }

    /// Follows the list of revoked tokens, which are kept for `kept`, the longest life of a token. `on_new` is called after new ones.
    pub fn follow_revocations(
        &self,
        kept: Duration,
        on_new: impl Fn(&Revocations) + Send + Sync + 'static,
    ) -> Arc<Revocations> {
        let revocations = Revocations::new(self.link.commands.clone(), &self.link.subjects, kept);
        self.tasks.spawn_permanent("bus revocations", Arc::clone(&revocations).follow(Box::new(on_new)));
        revocations
    }

    /// Removes the own entry from the directory; the lease is not renewed after this call. Waits for Redis for at most 1.5 s; if it
    /// does not answer, the lease ends by itself.
    pub async fn deregister(&self) {
        deregister(&self.link, &self.directory).await;
    }
}
