//! One room as Redis has it, the way of its events to one gateway, and that gateway's repairs: everything around a
//! [`State`] that may be late, lost, doubled or in another order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    ConnId, RoomId,
    client::Member,
    command::{Joined, JoinedOne, Snapshot},
    event::RoomEvent,
};
use serde_json::value::RawValue;

use super::client::{Client, View, entry};
use crate::relay::{
    reconcile::Repaired,
    room::{Heard, Position, State},
};

/// See the module.
pub(super) struct World {
    id: RoomId,
    pub(super) room: State<Client>,
    /// Sockets of this gateway that are in the room, as far as they know.
    pub(super) clients: BTreeMap<String, Client>,
    /// The room in Redis.
    pub(super) at: Position,
    pub(super) members: BTreeMap<String, Member>,
    births: u64,
    /// Who has outlived its TTL and is not evicted yet.
    silent: BTreeSet<String>,
    /// Whoever lives, with the last record: what gateways put back.
    pub(super) alive: BTreeMap<String, Member>,
    /// Events under way to this gateway.
    pub(super) wire: VecDeque<String>,
    /// Joins that Redis has carried out and whose answers are under way.
    pub(super) answers: VecDeque<(String, Joined)>,
    /// What a repair fetched, and how far the room was heard before.
    fetched: Option<(u64, Option<Snapshot>)>,
    pub(super) look_again: Option<Instant>,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            id: RoomId::from("room"),
            room: State::default(),
            clients: BTreeMap::new(),
            at: Position::default(),
            members: BTreeMap::new(),
            births: 0,
            silent: BTreeSet::new(),
            alive: BTreeMap::new(),
            wire: VecDeque::new(),
            answers: VecDeque::new(),
            fetched: None,
            look_again: None,
            now: Instant::now(),
        }
    }

    /// What everybody should believe.
    pub(super) fn truth(&self) -> View {
        self.members.values().map(entry).collect()
    }

    fn publish(&mut self, kind: &str, reason: &str, member: &Member, edge: bool) {
        self.at.seq += 1;
        let (Position { birth, seq }, epoch) = (self.at, member.epoch);
        let Member { conn_id, user_id, state, .. } = member;
        let edge = u8::from(edge);
        let text = format!("1 {birth} {seq} {seq} {epoch} {kind} {reason} {edge}\n\n{conn_id}\n{user_id}\n{state}");
        self.wire.push_back(text);
    }

    fn is_alone(&self, member: &Member) -> bool {
        !self.members.values().any(|other| other.user_id == member.user_id && other.conn_id != member.conn_id)
    }

    /// Writes a record and publishes it.
    fn put(&mut self, kind: &str, member: Member) {
        if self.members.is_empty() {
            self.births += 1;
            self.at = Position { birth: self.births, seq: 0 };
        }
        let conn = member.conn_id.as_str().to_owned();
        let kind = if kind == "join" && self.members.contains_key(&conn) { "update" } else { kind };
        let edge = self.is_alone(&member);
        self.silent.remove(&conn);
        self.publish(kind, "-", &member, edge);
        self.alive.insert(conn.clone(), member.clone());
        self.members.insert(conn, member);
    }

    /// Somebody joins, here (the answer is under way) or at another gateway.
    pub(super) fn join(&mut self, conn: &str, user: &str, here: bool) {
        if here {
            self.room.join_began();
            self.room.hold(&ConnId::from(conn));
        }
        self.silent.remove(conn);
        for silent in std::mem::take(&mut self.silent) {
            self.evict(&silent, "expired");
        }
        let epoch = self.alive.get(conn).map_or(self.at.seq + 1, |member| member.epoch) + 1;
        let member = member(conn, user, epoch, "{\"joined\":true}");
        self.put("join", member);
        if here {
            let Position { birth, seq } = self.at;
            let (own, before): (Vec<_>, Vec<_>) =
                self.members.values().cloned().partition(|member| member.conn_id.as_str() == conn);
            let joins = own.into_iter().map(|member| JoinedOne { seq, epoch, op: 1, member: Some(member) }).collect();
            self.answers.push_back((conn.to_owned(), Joined { birth, before, joins }));
        }
    }

    /// The n-th answer arrives.
    pub(super) fn answer(&mut self, n: usize) {
        let Some((conn, joined)) = self.answers.remove(n) else { return };
        let client = self.clients.entry(conn.clone()).or_default().clone();
        let at = Position { birth: joined.birth, seq: joined.joins[0].seq };
        self.room.begin(&self.id, &joined, 0);
        client.answered(at, joined.seen_by(0));
        let complete = self.room.seat(&self.id, &ConnId::from(conn.as_str()), client, &joined, 0);
        if !complete {
            self.repair();
        }
        self.room.join_ended();
    }

    /// The n-th answer is lost. A first join is not repeated: its record stays until somebody evicts it. Nor is that of who
    /// was closed meanwhile, having been behind for too long.
    pub(super) fn lose_answer(&mut self, n: usize) {
        let Some((conn, _)) = self.answers.remove(n) else { return };
        if self.room.seats.contains_key(conn.as_str()) {
            self.room.release(&ConnId::from(conn.as_str()));
            self.repair();
        } else {
            self.clients.remove(&conn);
        }
        self.room.join_ended();
    }

    pub(super) fn update(&mut self, conn: &str, state: &str) {
        if let Some(found) = self.members.get(conn) {
            let changed = member(conn, found.user_id.as_str(), found.epoch, state);
            self.put("update", changed);
        }
    }

    /// Somebody leaves, by its own will.
    pub(super) fn leave(&mut self, conn: &str) {
        if self.clients.remove(conn).is_some() {
            self.room.exit(&ConnId::from(conn));
        }
        self.alive.remove(conn);
        self.evict(conn, "left");
    }

    /// A record is taken out.
    pub(super) fn evict(&mut self, conn: &str, reason: &str) {
        if let Some(member) = self.members.remove(conn) {
            self.silent.remove(conn);
            let edge = self.is_alone(&member);
            self.publish("leave", reason, &member, edge);
        }
    }

    /// A record that is gone is put back.
    pub(super) fn restore(&mut self, conn: &str) {
        if !self.members.contains_key(conn)
            && let Some(member) = self.alive.get(conn).cloned()
        {
            self.put("restore", member);
        }
    }

    /// Somebody has not been heard of for too long: who joins next evicts it, unless it is heard of before.
    pub(super) fn fall_silent(&mut self, conn: &str, silent: bool) {
        if !silent {
            self.silent.remove(conn);
        } else if self.members.contains_key(conn) {
            self.silent.insert(conn.to_owned());
        }
    }

    /// Redis loses everything.
    pub(super) fn lose_everything(&mut self) {
        self.members.clear();
        self.silent.clear();
        self.at = Position::default();
    }

    /// The next event arrives.
    pub(super) fn deliver(&mut self) {
        let Some(text) = self.wire.pop_front() else { return };
        let heard = self.room.hear(&self.id, &text, &RoomEvent::read(&text).unwrap());
        if self.room.take_fell_behind() {
            self.repair();
        }
        if heard == Heard::Gap {
            self.repair();
        }
    }

    /// As `Relay::repair`.
    pub(super) fn repair(&mut self) {
        if self.room.is_idle() {
            self.room.forget();
        }
        if self.room.has_begun() && std::mem::replace(&mut self.room.repairing, true) {
            self.room.repair_again = true;
        }
        if !self.room.has_begun() {
            self.look_again = None;
        }
    }

    /// A step of the repair: a snapshot is taken, or the one that was taken arrives.
    pub(super) fn step(&mut self) {
        if !self.room.repairing {
            if self.look_again.is_some_and(|at| at <= self.now) {
                self.look_again = None;
                self.repair();
            }
            return;
        }
        let Some((heard, snapshot)) = self.fetched.take() else {
            let birth = if self.members.is_empty() { 0 } else { self.at.birth };
            let at = Position { birth, seq: if birth == 0 { 0 } else { self.at.seq } };
            let snapshot = Snapshot { birth, seq: at.seq, members: self.members.values().cloned().collect() };
            let unchanged = self.room.known_position() == Some(at);
            self.fetched = Some((self.room.heard(), (!unchanged).then_some(snapshot)));
            return;
        };
        if self.room.is_idle() {
            self.room.forget();
            self.room.repairing = false;
            return;
        }
        if let Some(snapshot) = snapshot {
            self.room.reconcile(&self.id, &snapshot, self.now);
        }
        if let Repaired::Done { settles_at, behind, .. } = self.room.go_on(&self.id, heard, self.now) {
            self.look_again = settles_at.or_else(|| behind.then(|| self.now + Duration::from_millis(250)));
            let seats = &self.room.seats;
            let rejoins = &self.answers;
            self.clients
                .retain(|conn, _| seats.contains_key(conn.as_str()) || rejoins.iter().any(|(other, _)| other == conn));
        }
    }

    /// Everything that is under way arrives, everybody reads, whoever lives is put back, and all repairs come to an end.
    pub(super) fn come_to_rest(&mut self) {
        self.clients.values().for_each(|client| client.told().full = false);
        self.alive.keys().cloned().collect::<Vec<_>>().iter().for_each(|conn| self.restore(conn));
        while !self.answers.is_empty() {
            self.answer(0);
        }
        while !self.wire.is_empty() {
            self.deliver();
        }
        self.repair();
        for _ in 0..100 {
            self.step();
            if let Some(at) = self.look_again.filter(|_| !self.room.repairing) {
                self.now = self.now.max(at);
            }
        }
        assert!(!self.room.repairing && self.look_again.is_none(), "repairs do not end");
    }
}

fn member(conn: &str, user: &str, epoch: u64, state: &str) -> Member {
    let state = RawValue::from_string(state.to_owned()).unwrap();
    Member { conn_id: conn.into(), user_id: user.into(), state, last_seen_ms: 0, epoch }
}
