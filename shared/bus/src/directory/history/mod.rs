//! Whether Redis' data of a partition continues from what it held before, server by server. Without a cluster the exchange
//! with the directory covers all partitions. On a cluster each primary is asked every 0.75 s.
//!
//! - `known`: what the answers mean. Here: the exchange with the servers.

mod known;

use std::{
    collections::{HashMap, HashSet},
    panic::resume_unwind,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use fred::{
    error::Error,
    interfaces::EventInterface as _,
    types::{cluster::ClusterRouting, config::Server},
};
use parking_lot::Mutex;
use rollcall_protocol::Partition;
use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use self::known::Known;
use super::contact::{Exchange, Why};
use crate::{clock::local_ms, link::Link, script::Script};

const READ_EVERY: Duration = Duration::from_millis(750);
/// A failed question is retried sooner: a single failure must not count as silence of the server.
const RETRY_AFTER: Duration = Duration::from_millis(250);

static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("history_read", include_str!("../../scripts/history_read.lua")));

/// Called with the partitions whose changes may be lost.
pub(crate) type OnHistory = Box<dyn Fn(&[Partition]) + Send + Sync>;

/// The histories of all servers.
pub(crate) struct Histories {
    link: Arc<Link>,
    state: Mutex<State>,
    on_history: OnceLock<OnHistory>,
}

#[derive(Default)]
struct State {
    known: Known,
    /// A cluster's primaries with their partitions, as of the last `CLUSTER SLOTS`.
    primaries: Vec<(Server, Arc<[Partition]>)>,
    /// Reports new command connections. Read after each answer: earlier reports belong to that answer.
    reconnects: Option<Receiver<Server>>,
    /// Servers with a question in flight.
    in_flight: HashSet<Server>,
}

impl Histories {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, state: Mutex::default(), on_history: OnceLock::new() }
    }

    /// Starts to follow new connections.
    pub(crate) fn start(&self, on_history: OnHistory) {
        let _ = self.on_history.set(on_history);
        self.state.lock().reconnects = Some(self.link.commands.reconnect_rx());
    }

    /// The clock of a partition's primary minus ours; `None` while it is not known, and without a cluster.
    pub(crate) fn clock_offset_ms(&self, partition: Partition) -> Option<i64> {
        self.state.lock().known.clock_offset_ms(partition)
    }

    /// Stores the routing of a cluster.
    pub(crate) fn set_routing(&self, routing: &ClusterRouting) {
        let mut primaries: HashMap<&Server, Vec<Partition>> = HashMap::new();
        for partition in Partition::all() {
            let slot = ClusterRouting::hash_key(self.link.subjects.partition(partition).as_bytes());
            if let Some(server) = routing.get_server(slot) {
                primaries.entry(server).or_default().push(partition);
            }
        }
        let primaries = primaries.into_iter().map(|(server, all)| (server.clone(), all.into())).collect();
        self.state.lock().primaries = primaries;
    }

    /// The last moment at which a partition's primary was known to have lost nothing, by its clock; `None` while the primary is
    /// not known, and without a cluster.
    pub(crate) fn calm_ms(&self, partition: Partition) -> Option<u64> {
        self.state.lock().known.calm_ms(partition, local_ms())
    }

    /// Whether there is a new connection to the directory's server since the last call. Without a cluster that is the only
    /// server; on a cluster each primary's connection counts separately.
    pub(super) fn directory_reconnected(&self) -> bool {
        if self.link.is_clustered() {
            return false;
        }
        let mut state = self.state.lock();
        state.drain_reconnects();
        state.known.take_reconnected()
    }

    /// Records what an exchange with the directory showed about its server. Without a cluster that is the only one.
    pub(super) fn directory_answered(&self, why: Option<Why>, reconnected: bool) {
        if self.link.is_clustered() {
            return;
        }
        let why = match why {
            // The first connection: nothing was sent before.
            Some(Why::Start) => return,
            Some(why) => why.as_str(),
            None if reconnected => "reconnect",
            None => return,
        };
        self.changed(&Partition::all().collect::<Vec<_>>(), why);
    }

    fn changed(&self, partitions: &[Partition], why: &str) {
        if partitions.is_empty() {
            return;
        }
        tracing::warn!(
            why,
            partitions = partitions.len(),
            "Redis may have lost changes; gateways restore their records"
        );
        rollcall_telemetry::metrics::history_changed();
        if let Some(on_history) = self.on_history.get() {
            on_history(partitions);
        }
    }

    /// Asks every primary of a cluster, forever; each on its own, so that one that hangs delays no other.
    pub(crate) async fn follow_primaries(self: Arc<Self>) {
        let mut reads = JoinSet::new();
        let mut tick = interval(READ_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            while let Some(done) = reads.try_join_next() {
                if let Err(Ok(panic)) = done.map_err(tokio::task::JoinError::try_into_panic) {
                    resume_unwind(panic);
                }
            }
            let free = {
                let mut state = self.state.lock();
                let free: Vec<_> =
                    state.primaries.iter().filter(|(server, _)| !state.in_flight.contains(server)).cloned().collect();
                state.in_flight.extend(free.iter().map(|(server, _)| server.clone()));
                free
            };
            for (server, partitions) in free {
                let histories = Arc::clone(&self);
                reads.spawn(async move { histories.read(&server, &partitions).await });
            }
        }
    }

    async fn read(&self, server: &Server, partitions: &[Partition]) {
        let (mut sent_ms, mut answer) = self.ask(partitions.first()).await;
        if answer.is_err() {
            sleep(RETRY_AFTER).await;
            // By another slot: the first one may be moving.
            (sent_ms, answer) = self.ask(partitions.last()).await;
        }
        let broken = {
            let mut state = self.state.lock();
            state.in_flight.remove(server);
            let Ok((redis_ms, replication_id)) = answer else { return };
            let exchange = Exchange { sent_ms, answered_ms: local_ms(), redis_ms, replication_id };
            state.drain_reconnects();
            state.known.answered(server, partitions, exchange)
        };
        self.changed(&broken, "primary");
    }

    /// Asks the server of a partition; returns when, and its clock and replication id.
    async fn ask(&self, partition: Option<&Partition>) -> (u64, Result<(u64, String), Error>) {
        let keys = partition.map(|partition| self.link.subjects.partition(*partition)).into_iter().collect();
        (local_ms(), self.link.run(&READ, keys, Vec::new()).await)
    }
}

impl State {
    fn drain_reconnects(&mut self) {
        let Some(reconnects) = &mut self.reconnects else { return };
        loop {
            match reconnects.try_recv() {
                Ok(server) => self.known.reconnected(server),
                // More than 32 since the last answer. The latest are still in the channel.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}
