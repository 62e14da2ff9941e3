//! A room as it should be, in a few lines of plain Rust. It knows no Redis.

use std::collections::BTreeMap;

use presence_state::store::Beat;
use protocol::{
    command::{Heartbeat, Join, JoinedOne},
    event::{Kind, Reason},
};

use crate::{events::Published, site::json};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) user: String,
    pub(super) node: String,
    pub(super) epoch: u64,
    pub(super) op: u64,
    pub(super) state: String,
    /// Not heard of for longer than its TTL.
    pub(super) silent: bool,
}

/// An event as it should be; which birth of the room it belongs to is checked elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    seq: u64,
    kind: Kind,
    reason: Option<Reason>,
    user_edge: bool,
    conn: String,
    record: (String, u64, String),
}

impl From<&Published> for Said {
    fn from(published: &Published) -> Self {
        let event = published.read();
        Self {
            seq: event.seq,
            kind: event.kind,
            reason: event.reason,
            user_edge: event.user_edge,
            conn: event.conn.to_owned(),
            record: (event.user.to_owned(), event.epoch, event.state.get().to_owned()),
        }
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) records: BTreeMap<String, Record>,
    pub(super) seq: u64,
    /// What the last step should have said.
    pub(super) said: Vec<Said>,
}

impl Model {
    /// A join's epoch comes from Redis' clock, so that the model can only say what it must be more than.
    pub(super) fn join(&mut self, join: &Join, answer: &JoinedOne) {
        let conn = join.conn.as_str();
        let record = Record {
            user: join.user.as_str().to_owned(),
            node: join.node.as_str().to_owned(),
            epoch: answer.epoch,
            op: join.op,
            state: join.state.get().to_owned(),
            silent: false,
        };
        match self.records.get_mut(conn) {
            Some(there) if there.op > join.op => assert_eq!((answer.epoch, answer.op), (0, there.op)),
            Some(there) if there.op == join.op || join.restore => {
                assert_eq!((answer.epoch, answer.op, answer.member.is_none()), (there.epoch, there.op, true));
                there.silent = false;
            }
            Some(there) => {
                assert!(answer.epoch > there.epoch.max(join.known_epoch), "{answer:?} after {there:?}");
                *there = record;
                self.say(Kind::Update, None, false, conn);
            }
            None if join.restore => {
                assert_eq!(answer.epoch, join.known_epoch);
                self.enter(Kind::Restore, conn, record);
            }
            None => {
                assert!(answer.epoch > join.known_epoch, "{answer:?}");
                self.enter(Kind::Join, conn, record);
            }
        }
        assert_eq!(answer.seq, self.seq);
    }

    fn enter(&mut self, kind: Kind, conn: &str, record: Record) {
        let first = !self.records.values().any(|other| other.user == record.user);
        self.records.insert(conn.to_owned(), record);
        self.say(kind, None, first, conn);
    }

    pub(super) fn beat(&mut self, beat: &Heartbeat) -> Beat {
        let conn = beat.conn.as_str();
        let Some(record) = self.records.get_mut(conn) else { return Beat::Missing };
        let (epoch, op) = (record.epoch, record.op);
        if op == beat.op {
            return Beat::Taken { epoch, op, changed: beat.state.is_some() };
        }
        if op > beat.op {
            return Beat::Overtaken;
        }
        if beat.epoch.is_some_and(|own| own < epoch) {
            return Beat::Stale { epoch };
        }
        if beat.state.is_some() && beat.base_op != op {
            return Beat::Conflict { epoch, op, state: json(&record.state) };
        }
        record.silent = false;
        let state = beat.state.as_ref().map(|state| state.get()).filter(|state| *state != record.state);
        let changed = state.is_some();
        if changed || beat.epoch.is_some_and(|own| own > epoch) {
            record.op = beat.op;
            record.epoch = beat.epoch.unwrap_or(0).max(epoch);
        }
        let taken = Beat::Taken { epoch: record.epoch, op: record.op, changed };
        if let Some(state) = state {
            record.state = state.to_owned();
            self.say(Kind::Update, None, false, conn);
        }
        taken
    }

    pub(super) fn leave(&mut self, conn: &str, op: u64) -> Option<u64> {
        if self.records.get(conn)?.op > op {
            return None;
        }
        self.remove(conn, Reason::Left);
        Some(self.records.len() as u64)
    }

    pub(super) fn remove(&mut self, conn: &str, reason: Reason) {
        let user = &self.records[conn].user;
        let last = self.records.values().filter(|record| record.user == *user).count() == 1;
        self.say(Kind::Leave, Some(reason), last, conn);
        self.records.remove(conn);
        if self.records.is_empty() {
            self.seq = 0;
        }
    }

    fn say(&mut self, kind: Kind, reason: Option<Reason>, user_edge: bool, conn: &str) {
        self.seq += 1;
        let record = &self.records[conn];
        self.said.push(Said {
            seq: self.seq,
            kind,
            reason,
            user_edge,
            conn: conn.to_owned(),
            record: (record.user.clone(), record.epoch, record.state.clone()),
        });
    }
}
