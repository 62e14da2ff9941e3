//! The bus: how an instance of a service finds another, sends it requests, answers, and receives events of rooms; all of it
//! over Redis' sharded pub/sub (`SPUBLISH`, `SSUBSCRIBE`; Redis or Valkey 7 or newer). It knows who is alive and who
//! waits for which reply; it knows nothing of presence keys.
//!
//! Its parts, each of which knows only those before it (`./dev lint` checks this):
//!
//! - `clock`, `rendezvous`, `subjects` (names), `redis` (configuration, the two connections), `script` (Lua by its hash).
//! - `link`: commands, the channels that must survive a reconnect, publishing.
//! - `directory`: who is alive, by leases; whether Redis can be trusted; which partitions may have lost changes.
//! - `publisher`: the outboxes, in which requests for one instance collect, and replies.
//! - `requests`: what waits for a reply, until its deadline.
//! - `inbox`: reads the subscription and hands on; watches that it is received, and where the slots of a cluster are.
//!
//! [`Bus`] wires them and is what services see; `health` is what it says of itself.

mod clock;
mod directory;
mod health;
mod inbox;
mod link;
mod publisher;
pub mod redis;
mod rendezvous;
mod requests;
pub mod script;
mod subjects;

use std::sync::{Arc, OnceLock};

use fred::{clients::Client, types::ConnectHandle};
use parking_lot::Mutex;
use protocol::{
    Fault, InstanceId,
    command::{Command, Outcome},
};
use service::{TaskFailed, Tasks};
use telemetry::propagation::TraceContext;

pub use directory::{Role, Truce, View, Why};
pub use inbox::Listener;
pub use publisher::REPLY_LIMIT;
pub use rendezvous::choose;
pub use requests::{Answer, DEADLINE};
pub use subjects::Subjects;

use crate::{
    directory::{Directory, Histories, Lease, deregister, follow_errors},
    inbox::{Inbox, Probes, Watchdog, follow_topology},
    link::{CanReceive, Link},
    publisher::Publisher,
    requests::{Pending, Requests},
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
    /// Nothing else keeps them: they end with the bus.
    tasks: Arc<Tasks>,
    connections: Mutex<Option<[ConnectHandle; 2]>>,
}

impl Bus {
    /// Connects, without waiting for Redis: until it answers, the instance is unready and every call is refused. The name
    /// begins with [`Role::service`] and a `-`, or no one finds the instance.
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

    /// Begins to listen and to renew the own lease.
    pub fn start(&self, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(Arc::clone(&listener));
        self.link.subscriptions.want(self.link.inbox.clone());
        let (link, histories) = (&self.link, &self.histories);
        let watchdog =
            Watchdog { link: Arc::clone(link), probes: Arc::clone(&self.probes), listener: Arc::clone(&listener) };
        let watchdog = Arc::new(watchdog);
        let inbox = Inbox {
            link: Arc::clone(link),
            directory: Arc::clone(&self.directory),
            probes: Arc::clone(&self.probes),
            pending: Arc::clone(&self.pending),
            listener: Arc::clone(&listener),
        };
        let tasks = &self.tasks;
        for connection in self.connections.lock().take().into_iter().flatten() {
            tasks.spawn_permanent("connection to Redis", redis::keep(connection));
        }
        tasks.spawn_permanent("bus inbox", inbox.read());
        tasks.spawn_permanent("bus reconnects", Arc::clone(&watchdog).follow_reconnects());
        tasks.spawn_permanent("bus probes", Arc::clone(&watchdog).probe());
        histories.start(Box::new(move |partitions| listener.on_history(partitions)));
        if link.is_clustered() {
            let topology = follow_topology(Arc::clone(link), watchdog, Arc::clone(histories));
            tasks.spawn_permanent("bus topology", topology);
            tasks.spawn_permanent("bus histories", Arc::clone(histories).follow_primaries());
        }
        let errors = follow_errors(Arc::clone(link), Arc::clone(&self.directory.trouble));
        tasks.spawn_permanent("bus connection errors", errors);
        let (directory, can_receive) = (Arc::clone(&self.directory), Arc::clone(&self.can_receive));
        let lease = Lease::new(Arc::clone(link), directory, Arc::clone(histories), can_receive);
        tasks.spawn_permanent("bus lease", lease.renew());
        tasks.spawn_permanent("bus requests", Arc::clone(&self.requests).watch());
        self.register_metrics();
    }

    /// Resolves when a task without which the bus does not work has ended or panicked: the process has to end.
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

    /// Asks the presence-state instance that serves the command's partition, and waits [`DEADLINE`] at most. What has not been
    /// carried out by then, or when the future is dropped before it was sent, is not carried out any more.
    ///
    /// # Errors
    /// `UNAVAILABLE`: no instance is there, or Redis is not. `TIMEOUT`: it went out and no reply came. `OVERLOADED`: a queue
    /// is full. Or the fault that the instance answered.
    pub async fn call(&self, command: &Command, trace: TraceContext) -> Result<Answer, Fault> {
        self.requests.call(command, &trace).await
    }

    /// Answers requests of `reply_to`; each item has the ids that it answers. An answer over [`REPLY_LIMIT`] is refused
    /// as `OVERLOADED`.
    pub async fn reply(&self, reply_to: &str, items: &[(Vec<u64>, Arc<Outcome>)]) {
        publisher::reply(&self.link, reply_to, items).await;
    }

    /// Subscribes to a channel, now and after every reconnect. Resolves when Redis has confirmed it.
    ///
    /// # Errors
    /// Redis did not confirm in time; the channel stays wanted and the next reconnect tries again.
    pub async fn subscribe(&self, channel: &str) -> Result<(), redis::Error> {
        self.link.subscriptions.subscribe(channel).await
    }

    /// Ends a subscription: from this call on, not from the first poll. What [`subscribe`](Self::subscribe) is called for
    /// later is subscribed.
    pub fn unsubscribe(&self, channel: &str) -> impl Future<Output = ()> + use<'_> {
        let ended = self.link.subscriptions.unsubscribe(channel);
        async {
            if ended.await
                && let Some(listener) = self.listener.get()
            {
                listener.on_gap();
            }
        }
    }

    /// Removes the own entry from the directory, for good: the lease is not renewed after this call. Redis is waited for 1.5 s
    /// at most; if it does not answer, the lease ends by itself.
    pub async fn deregister(&self) {
        deregister(&self.link, &self.directory).await;
    }
}
