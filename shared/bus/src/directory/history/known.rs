//! What is known of the servers of a cluster: when each answered, and where each partition was found last. No I/O, no clock.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use fred::types::config::Server;
use rollcall_protocol::Partition;

use crate::directory::{
    contact::{Contact, Exchange, Why},
    truce::TRUCE_MS,
};

/// See the module.
#[derive(Default)]
pub(super) struct Known {
    contacts: HashMap<Server, Contact>,
    /// The last known server of each partition, with its replication id.
    locations: HashMap<Partition, (Server, Arc<str>)>,
    /// Servers with a new connection that have not answered since.
    reconnected: HashSet<Server>,
}

impl Known {
    /// Records a new connection to a server.
    pub(super) fn reconnected(&mut self, server: Server) {
        self.reconnected.insert(server);
    }

    /// Whether there is a new connection to any server since the last call.
    pub(super) fn take_reconnected(&mut self) -> bool {
        self.reconnected.drain().count() > 0
    }

    /// Records an answer of the server of these partitions; returns those whose history may be broken.
    pub(super) fn answered(&mut self, server: &Server, partitions: &[Partition], exchange: Exchange) -> Vec<Partition> {
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

    /// The last moment at which the partition's server was known to have lost nothing, by its clock.
    pub(super) fn calm_ms(&self, partition: Partition, now_ms: u64) -> Option<u64> {
        let (server, _) = self.locations.get(&partition)?;
        Some(self.contacts.get(server)?.calm_ms(now_ms, TRUCE_MS))
    }

    /// The clock of the partition's server minus ours.
    pub(super) fn clock_offset_ms(&self, partition: Partition) -> Option<i64> {
        let (server, _) = self.locations.get(&partition)?;
        self.contacts.get(server)?.clock_offset_ms()
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
        known.reconnected(server(1));
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
        known.reconnected(server(2));
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
