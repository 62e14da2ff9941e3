//! Whether Redis' data of a partition continues from what it held before, server by server. Without a cluster the exchange
//! with the directory covers all partitions. On a cluster each primary is asked every 0.75 s.
//!
//! - `known`: what the answers mean. Here: the exchange with the servers.

mod known;

use std::{
    collections::HashSet,
    panic::resume_unwind,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use fred::{
    interfaces::{ClusterInterface as _, EventInterface as _},
    types::config::Server,
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
use crate::{
    clock::local_ms,
    link::{Link, server_of},
    script::Script,
};

const READ_EVERY: Duration = Duration::from_millis(750);
/// A failed question is retried sooner: a single failure must not count as silence of the server.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How often a server is asked within one round. Each attempt may meet a slot that moves.
const ATTEMPTS: usize = 3;

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
            let Some(routing) = self.link.commands.cached_cluster_state() else { continue };
            for server in routing.unique_primary_nodes() {
                if self.state.lock().in_flight.insert(server.clone()) {
                    let histories = Arc::clone(&self);
                    reads.spawn(async move { histories.read(&server).await });
                }
            }
        }
    }

    async fn read(&self, server: &Server) {
        let answered = self.ask(server).await;
        let broken = {
            let mut state = self.state.lock();
            state.in_flight.remove(server);
            let Some((partitions, exchange)) = answered else { return };
            state.drain_reconnects();
            state.known.answered(server, &partitions, exchange)
        };
        self.changed(&broken, "primary");
    }

    /// Asks a server by a slot of one of its partitions; returns its answer, and which partitions it has. A question goes wherever its
    /// slot is by then, so an answer counts only if the slot is still at this server afterwards.
    async fn ask(&self, server: &Server) -> Option<(Vec<Partition>, Exchange)> {
        for attempt in 0..ATTEMPTS {
            let partitions = self.partitions_of(server);
            // By another slot at the next attempt: the first one may be moving.
            let asked = if attempt == 0 { partitions.first() } else { partitions.last() };
            let asked = *asked?;
            let sent_ms = local_ms();
            let base = self.link.subjects.partition(asked);
            match self.link.run::<(u64, String)>(&READ, vec![base], Vec::new()).await {
                Ok((redis_ms, replication_id)) => {
                    let exchange = Exchange { sent_ms, answered_ms: local_ms(), redis_ms, replication_id };
                    let partitions = self.partitions_of(server);
                    if partitions.contains(&asked) {
                        return Some((partitions, exchange));
                    }
                    tracing::debug!(%server, %asked, "history answered after its slot had moved; asking again");
                }
                Err(_) if attempt + 1 < ATTEMPTS => sleep(RETRY_AFTER).await,
                Err(_) => {}
            }
        }
        None
    }

    /// The partitions of a primary, where the commands are sent just now.
    fn partitions_of(&self, server: &Server) -> Vec<Partition> {
        let Some(routing) = self.link.commands.cached_cluster_state() else { return Vec::new() };
        let is_here =
            |partition: &Partition| server_of(&routing, &self.link.subjects.partition(*partition)) == Some(server);
        Partition::all().filter(is_here).collect()
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
