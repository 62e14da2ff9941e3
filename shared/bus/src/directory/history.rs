//! Whether Redis' data of a partition continues from what it held before, server by server. Without a cluster the exchange
//! with the directory covers all partitions. On a cluster each primary is asked every 0.75 s.

use std::{
    collections::{HashMap, HashSet},
    panic::resume_unwind,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use fred::{
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

use super::{
    contact::{Contact, Exchange, Why},
    truce::TRUCE_MS,
};
use crate::{clock::local_ms, link::Link, script::Script};

const READ_EVERY: Duration = Duration::from_millis(750);
/// A failed question is retried sooner: a single failure must not count as silence of the server.
const RETRY_AFTER: Duration = Duration::from_millis(250);

static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("history_read", include_str!("../scripts/history_read.lua")));

/// Called with the partitions whose changes may be lost.
pub(crate) type OnHistory = Box<dyn Fn(&[Partition]) + Send + Sync>;

/// The histories of all servers.
pub(crate) struct Histories {
    link: Arc<Link>,
    known: Mutex<Known>,
    on_history: OnceLock<OnHistory>,
}

#[derive(Default)]
struct Known {
    /// A cluster's primaries with their partitions, as of the last `CLUSTER SLOTS`.
    primaries: Vec<(Server, Arc<[Partition]>)>,
    contacts: HashMap<Server, Contact>,
    /// The last known server of each partition, with its replication id.
    locations: HashMap<Partition, (Server, Arc<str>)>,
    /// Reports new command connections. Read after each answer: earlier reports belong to that answer.
    reconnects: Option<Receiver<Server>>,
    /// Servers with a new connection that have not answered since.
    reconnected: HashSet<Server>,
    /// Servers with a question in flight.
    in_flight: HashSet<Server>,
}

impl Histories {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, known: Mutex::default(), on_history: OnceLock::new() }
    }

    /// Starts to follow new connections.
    pub(crate) fn start(&self, on_history: OnHistory) {
        let _ = self.on_history.set(on_history);
        self.known.lock().reconnects = Some(self.link.commands.reconnect_rx());
    }

    /// The clock of a partition's primary minus ours; `None` while it is not known, and without a cluster.
    pub(crate) fn clock_offset_ms(&self, partition: Partition) -> Option<i64> {
        let known = self.known.lock();
        let (server, _) = known.locations.get(&partition)?;
        known.contacts.get(server)?.clock_offset_ms()
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
        self.known.lock().primaries = primaries;
    }

    /// The last moment at which a partition's primary was known to have lost nothing, by its clock; `None` while the primary is
    /// not known, and without a cluster.
    pub(crate) fn calm_ms(&self, partition: Partition) -> Option<u64> {
        self.known.lock().calm_ms(partition, local_ms())
    }

    /// Whether there is a new connection to the directory's server since the last call. Without a cluster that is the only
    /// server; on a cluster each primary's connection counts separately.
    pub(super) fn directory_reconnected(&self) -> bool {
        if self.link.is_clustered() {
            return false;
        }
        let mut known = self.known.lock();
        known.drain_reconnects();
        known.reconnected.drain().count() > 0
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
                let mut known = self.known.lock();
                let free: Vec<_> =
                    known.primaries.iter().filter(|(server, _)| !known.in_flight.contains(server)).cloned().collect();
                known.in_flight.extend(free.iter().map(|(server, _)| server.clone()));
                free
            };
            for (server, partitions) in free {
                let histories = Arc::clone(&self);
                reads.spawn(async move { histories.read(&server, &partitions).await });
            }
        }
    }

    async fn read(&self, server: &Server, partitions: &[Partition]) {
        let key = partitions.first().map(|partition| self.link.subjects.partition(*partition));
        let ask = async || {
            let keys = key.clone().into_iter().collect();
            (local_ms(), self.link.run::<(u64, String)>(&READ, keys, Vec::new()).await)
        };
        let (mut sent_ms, mut answer) = ask().await;
        if answer.is_err() {
            sleep(RETRY_AFTER).await;
            (sent_ms, answer) = ask().await;
        }
        let broken = {
            let mut known = self.known.lock();
            known.in_flight.remove(server);
            let Ok((redis_ms, replication_id)) = answer else { return };
            known.answered(server, partitions, Exchange { sent_ms, answered_ms: local_ms(), redis_ms, replication_id })
        };
        self.changed(&broken, "primary");
    }
}

impl Known {
    fn drain_reconnects(&mut self) {
        let Some(reconnects) = &mut self.reconnects else { return };
        loop {
            match reconnects.try_recv() {
                Ok(server) => drop(self.reconnected.insert(server)),
                // More than 32 since the last answer. The latest are still in the channel.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Records an answer of the server of these partitions; returns those whose history may be broken.
    fn answered(&mut self, server: &Server, partitions: &[Partition], exchange: Exchange) -> Vec<Partition> {
        self.drain_reconnects();
        let (now_ms, id): (_, Arc<str>) = (exchange.answered_ms, exchange.replication_id.as_str().into());
        let reconnected = self.reconnected.remove(server);
        let home = (server.clone(), id);
        let moved = |partition: &&Partition| self.locations.get(*partition).is_some_and(|(before, _)| before != server);
        let moved_calm_ms =
            partitions.iter().filter(moved).filter_map(|partition| self.calm_ms(*partition, now_ms)).min();
        let contact = self.contacts.entry(server.clone()).or_default();
        let why = contact.observe(exchange, reconnected);
        // What was written to the previous server of a partition may be missing here.
        if let Some(calm_ms) = moved_calm_ms {
            contact.record_break(now_ms, calm_ms.min(contact.calm_ms(now_ms, TRUCE_MS)));
        }
        // A new server has no history yet; the previous servers of its partitions decide.
        let broken = why.is_some_and(|why| why != Why::Start) || (reconnected && why.is_none());
        let changed = |partition: &Partition| {
            let before = self.locations.insert(*partition, home.clone());
            before.is_some_and(|before| broken || before != home)
        };
        partitions.iter().copied().filter(changed).collect()
    }

    fn calm_ms(&self, partition: Partition, now_ms: u64) -> Option<u64> {
        let (server, _) = self.locations.get(&partition)?;
        Some(self.contacts.get(server)?.calm_ms(now_ms, TRUCE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(range: std::ops::Range<usize>) -> Vec<Partition> {
        Partition::all().skip(range.start).take(range.len()).collect()
    }

    fn server(port: u16) -> Server {
        Server::new("h", port)
    }

    fn at(now_ms: u64, id: &str) -> Exchange {
        Exchange { sent_ms: now_ms, answered_ms: now_ms, redis_ms: 1_000_000 + now_ms, replication_id: id.to_owned() }
    }

    #[test]
    fn the_own_start_and_a_healthy_cluster_change_no_history() {
        let mut known = Known::default();
        known.reconnected.insert(server(1));
        for now_ms in [0, 500, 1_000] {
            assert_eq!(known.answered(&server(1), &partitions(0..2), at(now_ms, "a")), []);
            assert_eq!(known.answered(&server(2), &partitions(2..4), at(now_ms, "b")), []);
        }
    }

    #[test]
    fn a_fault_of_one_server_affects_its_partitions_only() {
        let mut known = Known::default();
        for (port, id) in [(1, "a"), (2, "b")] {
            let own = partitions(usize::from(port) * 2..usize::from(port) * 2 + 2);
            known.answered(&server(port), &own, at(0, id));
        }
        assert_eq!(known.answered(&server(1), &partitions(2..4), at(500, "c")), partitions(2..4), "another id");
        assert_eq!(known.answered(&server(2), &partitions(4..6), at(1_500, "b")), partitions(4..6), "silence");
        known.reconnected.insert(server(2));
        assert_eq!(known.answered(&server(2), &partitions(4..6), at(2_000, "b")), partitions(4..6), "a new connection");
        assert_eq!(known.answered(&server(2), &partitions(4..6), at(2_500, "b")), []);
    }

    /// While a cluster changes, its slots may say for a moment that a partition is nowhere.
    #[test]
    fn a_partition_that_was_left_out_of_an_answer_is_not_forgotten() {
        let mut known = Known::default();
        known.answered(&server(1), &partitions(0..4), at(0, "a"));
        assert_eq!(known.answered(&server(1), &partitions(0..2), at(500, "b")), partitions(0..2));
        assert_eq!(known.answered(&server(1), &partitions(0..4), at(1_000, "b")), partitions(2..4), "once it is back");
    }

    #[test]
    fn partitions_that_move_change_their_history_and_others_do_not() {
        let mut known = Known::default();
        known.answered(&server(1), &partitions(0..4), at(0, "a"));
        known.answered(&server(2), &partitions(4..6), at(0, "b"));
        assert_eq!(known.answered(&server(2), &partitions(3..6), at(500, "b")), partitions(3..4));
        assert_eq!(known.answered(&server(3), &partitions(0..1), at(500, "c")), partitions(0..1), "to a new server");
        assert_eq!(known.answered(&server(1), &partitions(1..3), at(500, "a")), []);
    }

    #[test]
    fn each_partition_was_calm_when_its_server_last_answered_before_the_fault() {
        let all = partitions(0..6);
        let mut known = Known::default();
        for now_ms in [0, 700] {
            known.answered(&server(1), &all[..4], at(now_ms, "a"));
            known.answered(&server(2), &all[4..], at(now_ms + 50, "b"));
        }
        let calm = |known: &Known, index: usize, now_ms| known.calm_ms(all[index], now_ms);
        assert_eq!(calm(&known, 0, 3_000), Some(1_000_700), "the server has been silent since");
        known.answered(&server(1), &all[..4], at(3_000, "c"));
        known.answered(&server(1), &all[..4], at(3_700, "c"));
        assert_eq!((calm(&known, 0, 3_700), calm(&known, 5, 3_700)), (Some(1_000_700), Some(1_000_750)));
        assert_eq!(calm(&known, 0, 13_000), Some(1_003_700), "what was lost is restored by then");
        known.answered(&server(3), &all[4..], at(14_000, "d"));
        assert_eq!(calm(&known, 5, 14_000), Some(1_000_750), "a replica took over");
    }
}
