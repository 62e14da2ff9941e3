//! Plays steps against Redis and the model, and compares after each.

use fred::interfaces::KeysInterface as _;
use presence_state::store::{Beat, Evicted};
use protocol::{
    command::{Heartbeat, Join},
    event::Reason,
};

use super::{
    invariants,
    model::{Model, Said},
    step::{CONNS, Fence, Step},
};
use crate::{
    events::{Events, Published},
    site::{Site, TTL_MS, beat, join, json},
};

/// A command, kept for being sent once more.
enum Act {
    Join(Join),
    Beat(Heartbeat),
    Leave(usize, u64),
}

/// What a gateway remembers of a connection.
#[derive(Default)]
struct Memory {
    op: u64,
    user: Option<String>,
    highest_epoch: u64,
}

struct Play<'a> {
    site: &'a Site,
    events: Events,
    heard: Vec<Published>,
    model: Model,
    memories: [Memory; CONNS],
    last: Option<Act>,
}

/// Plays it all, then has everyone leave.
pub(super) async fn play(site: &Site, steps: &[Step]) {
    let events = site.listen().await;
    let (model, memories) = (Model::default(), Default::default());
    let mut play = Play { site, events, heard: Vec::new(), model, memories, last: None };
    for step in steps {
        play.step(step).await;
        play.compare().await;
    }
    for conn in 0..CONNS {
        play.step(&Step::Leave { conn, late: false }).await;
        play.compare().await;
    }
    invariants::check(&play.heard);
    let keys: u64 = site.redis().exists(site.keys().into_vec()).await.unwrap();
    assert_eq!(keys, 0, "an empty room leaves no key");
}

impl Play<'_> {
    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Join { conn, user } => {
                let there = self.model.records.get(&name(conn)).map(|record| record.user.clone());
                let user = there.unwrap_or_else(|| format!("u{user}"));
                self.memories[conn].user = Some(user.clone());
                let act = self.join(conn, &user, false);
                self.act(act).await;
            }
            Step::Restore { conn } => {
                let Some(user) = self.memories[conn].user.clone() else { return };
                let act = self.join(conn, &user, true);
                self.act(act).await;
            }
            Step::Beat { conn, fence, patch, old_copy, late } => {
                let act = self.beat(conn, fence, patch, old_copy, late);
                self.act(act).await;
            }
            Step::Leave { conn, late } => {
                let op = self.op(conn, late);
                self.act(Act::Leave(conn, op)).await;
            }
            Step::Repeat => {
                if let Some(act) = self.last.take() {
                    self.act(act).await;
                }
            }
            Step::Silence { conn } => {
                if let Some(record) = self.model.records.get_mut(&name(conn)) {
                    record.silent = true;
                    self.site.silence(&name(conn), TTL_MS * 2).await;
                }
            }
            Step::Touch { conn } => {
                let missing = self.site.touch(&[(&name(conn), 0)]).await;
                let record = self.model.records.get_mut(&name(conn));
                assert_eq!(missing.is_empty(), record.is_some());
                record.into_iter().for_each(|record| record.silent = false);
            }
            Step::Reap => {
                let (evicted, due) = self.site.reap().await;
                self.evicted(&evicted, Reason::Expired, |_, silent| silent).await;
                assert_eq!(due.is_some(), evicted.remaining > 0);
            }
            Step::LoseNode { node, all } => {
                let now = self.site.bus.redis_now_ms();
                let lease_end = if all { now + 1_000 } else { now - TTL_MS };
                let evicted = self.site.evict_node(&node_name(node), lease_end).await;
                let lost = node_name(node);
                self.evicted(&evicted, Reason::NodeLost, |node, silent| node == lost && (all || silent)).await;
            }
        }
    }

    async fn act(&mut self, act: Act) {
        match &act {
            Act::Join(join) => {
                let answer = self.site.join_together(std::slice::from_ref(join)).await.joins.remove(0);
                let events = self.hear().await;
                if !join.restore {
                    self.evicted_for(join, &events);
                }
                self.model.join(join, &answer);
                self.agree(&events);
                self.learn(join.conn.as_str(), answer.epoch);
            }
            Act::Beat(beat) => {
                let answer = self.site.heartbeat(beat).await;
                let expected = self.model.beat(beat);
                assert_eq!(format!("{answer:?}"), format!("{expected:?}"), "{beat:?}");
                if let Beat::Taken { epoch, .. } | Beat::Stale { epoch } | Beat::Conflict { epoch, .. } = answer {
                    self.learn(beat.conn.as_str(), epoch);
                }
            }
            Act::Leave(conn, op) => {
                let remaining = self.site.leave(&name(*conn), *op).await;
                assert_eq!(remaining, self.model.leave(&name(*conn), *op));
            }
        }
        self.last = Some(act);
    }

    fn join(&mut self, conn: usize, user: &str, restore: bool) -> Act {
        let op = self.op(conn, false);
        Act::Join(Join {
            node: node_name(conn % 2).as_str().into(),
            known_epoch: self.memories[conn].highest_epoch,
            restore,
            state: json(&format!(r#"{{"joined":{op}}}"#)),
            ..join(&name(conn), user, op)
        })
    }

    fn beat(&mut self, conn: usize, fence: Fence, patch: Option<u8>, old_copy: bool, late: bool) -> Act {
        let record = self.model.records.get(&name(conn));
        let (base, current) = record.map_or((0, 0), |record| (record.op, record.epoch));
        let state = patch.map(|patch| format!(r#"{{"patched":{patch}}}"#));
        // A gateway sends no state that its copy already has.
        let state = state.filter(|state| old_copy || record.is_none_or(|record| record.state != *state));
        let epoch = match fence {
            Fence::Current => None,
            Fence::Lower => Some(current.saturating_sub(1)),
            Fence::Higher => Some(current + 7),
        };
        let base_op = if old_copy { base.saturating_sub(1) } else { base };
        let op = self.op(conn, late);
        let room = self.site.room.clone();
        Act::Beat(Heartbeat { room, epoch, state: state.as_deref().map(json), ..beat(&name(conn), op, base_op) })
    }

    /// The connection's next operation, or one that all others have overtaken.
    fn op(&mut self, conn: usize, late: bool) -> u64 {
        if late {
            return 0;
        }
        self.memories[conn].op += 1;
        self.memories[conn].op
    }

    fn learn(&mut self, conn: &str, epoch: u64) {
        let memory = (0..CONNS).find(|n| name(*n) == conn).map(|n| &mut self.memories[n]).unwrap();
        memory.highest_epoch = memory.highest_epoch.max(epoch);
    }

    /// An eviction may take its connections in any order; the events tell which.
    async fn evicted(&mut self, evicted: &Evicted, reason: Reason, due: impl Fn(&str, bool) -> bool) {
        let events = self.hear().await;
        for event in &events {
            let conn = event.read().conn;
            let record = &self.model.records[conn];
            assert!(due(&record.node, record.silent), "{conn} was evicted: {record:?}");
            self.model.remove(conn, reason);
        }
        assert!(!self.model.records.values().any(|record| due(&record.node, record.silent)), "one was overlooked");
        assert_eq!((evicted.count, evicted.remaining), (events.len() as u64, self.model.records.len() as u64));
        self.agree(&events);
    }

    /// Who joins is shown nobody that has outlived its TTL: the events tell in which order they went.
    fn evicted_for(&mut self, join: &Join, events: &[Published]) {
        let expired = events.iter().map(Published::read).take_while(|event| event.reason == Some(Reason::Expired));
        for conn in expired.map(|event| event.conn) {
            assert!(self.model.records[conn].silent && conn != join.conn.as_str(), "{conn} was evicted");
            self.model.remove(conn, Reason::Expired);
        }
        let mut others = self.model.records.iter().filter(|(conn, _)| *conn != join.conn.as_str());
        assert!(others.all(|(_, record)| !record.silent), "one was overlooked");
    }

    async fn hear(&mut self) -> Vec<Published> {
        let events = self.events.so_far().await;
        self.heard.extend(events.iter().cloned());
        events
    }

    fn agree(&mut self, events: &[Published]) {
        let said: Vec<Said> = events.iter().map(Said::from).collect();
        assert_eq!(said, std::mem::take(&mut self.model.said));
    }

    async fn compare(&mut self) {
        let events = self.hear().await;
        self.agree(&events);
        let snapshot = self.site.snapshot().await;
        let mut members: Vec<_> = snapshot.members.iter().collect();
        members.sort_by_key(|member| &member.conn_id);
        assert_eq!(members.len(), self.model.records.len(), "{members:?} {:?}", self.model.records);
        for (member, (conn, record)) in members.iter().zip(&self.model.records) {
            assert_eq!((member.conn_id.as_str(), member.user_id.as_str()), (conn.as_str(), record.user.as_str()));
            assert_eq!((member.epoch, member.state.get()), (record.epoch, record.state.as_str()));
        }
        assert_eq!((snapshot.seq, snapshot.birth == 0), (self.model.seq, self.model.records.is_empty()));
    }
}

fn name(conn: usize) -> String {
    format!("c{conn}")
}

fn node_name(node: usize) -> String {
    format!("presence-gateway-{node:08x}")
}
