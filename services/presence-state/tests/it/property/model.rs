//! A room as it should be, in a few lines of plain Rust. It knows no Redis.

use std::collections::BTreeMap;

use rollcall_presence_state::store::Beat;
use rollcall_protocol::{
    Info,
    command::{Heartbeat, Join, JoinResult, JoinedOne, Restored},
    event::{Kind, Reason},
};

use crate::{
    events::Published,
    site::{info_text, json},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) user: String,
    pub(super) gateway: String,
    pub(super) epoch: u64,
    pub(super) op: u64,
    pub(super) info: Option<Info>,
    pub(super) state: String,
}

/// An event as it should be; which generation of the room it belongs to is checked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    seq: u64,
    kind: Kind,
    reason: Option<Reason>,
    user_edge: bool,
    conn: String,
    /// User, epoch, info and state.
    record: (String, u64, String, String),
}

impl From<&Published> for Said {
    fn from(published: &Published) -> Self {
        let event = published.read();
        Self {
            seq: event.at.seq,
            kind: event.kind,
            reason: event.reason,
            user_edge: event.user_edge,
            conn: event.conn.to_owned(),
            record: (
                event.user.to_owned(),
                event.epoch,
                info_text(event.info).to_owned(),
                event.state.get().to_owned(),
            ),
        }
    }
}

#[derive(Default, Clone)]
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
        let there = self.records.get(conn).cloned();
        match (there, answer.result) {
            (Some(there), result) if there.op > join.op => assert_eq!(result, JoinResult::Overtaken),
            (Some(there), result) if there.op == join.op => {
                let same = JoinResult::Member { epoch: there.epoch, op: there.op };
                assert_eq!((result, answer.member.is_none()), (same, true));
            }
            (there, JoinResult::Member { epoch, op }) => {
                assert_eq!(op, join.op);
                let least = there.as_ref().map_or(0, |there| there.epoch).max(join.known_epoch);
                assert!(epoch > least, "{answer:?} after {there:?}");
                let record = Record {
                    user: join.user.as_str().to_owned(),
                    gateway: join.gateway.as_str().to_owned(),
                    epoch,
                    op,
                    info: join.info.clone(),
                    state: join.state.get().to_owned(),
                };
                if there.is_some() {
                    self.records.insert(conn.to_owned(), record);
                    self.say(Kind::Update, None, false, conn);
                } else {
                    self.enter(Kind::Join, conn, record);
                }
            }
            (there, result) => panic!("{result:?} after {there:?}"),
        }
        assert_eq!(answer.seq, self.seq);
    }

    /// Says whether the record had to be written.
    pub(super) fn restore(&mut self, gateway: &str, member: &Restored) -> bool {
        let conn = member.conn.as_str();
        let mut record = Record {
            user: member.user.as_str().to_owned(),
            gateway: gateway.to_owned(),
            epoch: member.epoch,
            op: member.op,
            info: member.info.clone(),
            state: member.state.get().to_owned(),
        };
        match self.records.get(conn) {
            Some(there) if (there.op, there.epoch) >= (record.op, record.epoch) || there.op > record.op => {
                return false;
            }
            Some(there) => {
                record.epoch = record.epoch.max(there.epoch);
                self.records.insert(conn.to_owned(), record);
                self.say(Kind::Restore, None, false, conn);
            }
            None => self.enter(Kind::Restore, conn, record),
        }
        true
    }

    fn enter(&mut self, kind: Kind, conn: &str, record: Record) {
        let first = !self.records.values().any(|other| other.user == record.user);
        self.records.insert(conn.to_owned(), record);
        self.say(kind, None, first, conn);
    }

    pub(super) fn beat(&mut self, beat: &Heartbeat) -> Beat {
        let conn = beat.conn.as_str();
        let Some(record) = self.records.get_mut(conn) else { return Beat::Missing };
        let (epoch, op) = (record.epoch.max(beat.known_epoch), record.op);
        if op == beat.op {
            let epoch = record.epoch;
            return Beat::Taken { epoch, op, changed: beat.state.is_some() };
        }
        if op > beat.op {
            return Beat::Overtaken;
        }
        if beat.epoch.is_some_and(|own| own < epoch) {
            return Beat::Stale { epoch };
        }
        if op > beat.base_op {
            let (epoch, info, state) = (record.epoch, record.info.clone(), json(&record.state));
            return Beat::Conflict { epoch, op, info, state };
        }
        if beat.state.is_none() && op < beat.base_op {
            return Beat::Missing;
        }
        let state = beat.state.as_ref().map(|state| state.get());
        let state = state.filter(|state| *state != record.state || beat.info != record.info);
        let changed = state.is_some();
        let adopted = beat.epoch.unwrap_or(0).max(epoch);
        if changed || adopted > record.epoch {
            record.op = beat.op;
            record.epoch = adopted;
        }
        let taken = Beat::Taken { epoch: record.epoch, op: record.op, changed };
        if let Some(state) = state {
            (record.info, record.state) = (beat.info.clone(), state.to_owned());
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
            record: (
                record.user.clone(),
                record.epoch,
                info_text(record.info.as_ref().map(Info::json)).to_owned(),
                record.state.clone(),
            ),
        });
    }
}
