//! One room as Redis has it, the way of its events to one gateway, and that gateway's repairs: everything around a
//! [`State`] that may be late, lost, doubled or in another order; and Redis itself may come back with older data.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    ConnId, Position, RoomId,
    command::{JoinResult, Joined, JoinedOne, Member, Snapshot},
    event::RoomEvent,
};
use serde_json::value::RawValue;

use super::client::{Client, View, entry};
use crate::relay::{
    reconcile::{RECOVERY, Repaired},
    room::{Heard, State},
};

/// The room as Redis has it.
#[derive(Clone, Default)]
struct Store {
    at: Position,
    members: BTreeMap<String, Member>,
}

/// What a repair fetched.
struct Fetched {
    asked_at: Instant,
    /// How far the room was heard before.
    heard: u64,
    /// None if the room stood where the gateway knew it.
    snapshot: Option<Snapshot>,
    /// Who was there at that time, and was not gone in truth.
    protected: BTreeMap<String, u64>,
}

/// See the module.
pub(super) struct World {
    id: RoomId,
    pub(super) room: State<Client>,
    /// Sockets of this gateway that are in the room, as far as they know.
    pub(super) clients: BTreeMap<String, Client>,
    store: Store,
    /// The room before each of the last changes.
    past: Vec<Store>,
    /// Redis' clock, which never goes back, and the last operation.
    clock: u64,
    op: u64,
    epochs: BTreeMap<String, u64>,
    /// Whose gateway is gone: snapshots and answers leave them out, and they are not evicted yet.
    gone: BTreeSet<String>,
    /// Members that are alive, each with its last record: what gateways restore.
    alive: BTreeMap<String, Member>,
    /// Single records that Redis lost, and no one has noticed.
    lost: BTreeSet<String>,
    /// Members of whom no one may be told that they left, each with its epoch when it came.
    protected: BTreeMap<String, u64>,
    /// Who was evicted, or lost without a word, and came back with the same epoch: both may be told.
    unprotected: BTreeSet<String>,
    /// How often Redis lost data.
    faults: usize,
    /// Redis came back with older data, and the gateway does not know yet.
    unnoticed: bool,
    /// Events under way to this gateway.
    pub(super) wire: VecDeque<String>,
    /// Joins that Redis has carried out and whose answers are under way.
    pub(super) answers: VecDeque<(String, Joined)>,
    fetched: Option<Fetched>,
    pub(super) look_again: Vec<Instant>,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            id: RoomId::from("room"),
            room: State::default(),
            clients: BTreeMap::new(),
            store: Store::default(),
            past: Vec::new(),
            clock: 0,
            op: 0,
            epochs: BTreeMap::new(),
            gone: BTreeSet::new(),
            alive: BTreeMap::new(),
            lost: BTreeSet::new(),
            protected: BTreeMap::new(),
            unprotected: BTreeSet::new(),
            faults: 0,
            unnoticed: false,
            wire: VecDeque::new(),
            answers: VecDeque::new(),
            fetched: None,
            look_again: Vec::new(),
            now: Instant::now(),
        }
    }

    /// What everybody should believe.
    pub(super) fn truth(&self) -> View {
        self.store.members.values().map(entry).collect()
    }

    pub(super) fn at(&self) -> Position {
        self.store.at
    }

    fn publish(&mut self, kind: &str, reason: &str, member: &Member, edge: bool) {
        self.clock += 1;
        let previous = std::mem::replace(&mut self.store.at.token, self.clock);
        self.store.at.seq += 1;
        let Position { birth, seq, token } = self.store.at;
        let Member { conn, user, epoch, op, state } = member;
        let edge = u8::from(edge);
        let head = format!("2 {birth} {seq} {token} {previous} 0 {epoch} {op} {kind} {reason} {edge}");
        self.wire.push_back(format!("{head}\n\n{conn}\n{user}\n{state}"));
    }

    fn is_alone(&self, member: &Member) -> bool {
        !self.store.members.values().any(|other| other.user == member.user && other.conn != member.conn)
    }

    /// Writes a record and publishes it.
    fn put(&mut self, kind: &str, member: Member) {
        self.past.push(self.store.clone());
        if self.store.members.is_empty() {
            self.clock += 1;
            self.store.at = Position { birth: self.clock, seq: 0, token: 0 };
        }
        let conn = member.conn.as_str().to_owned();
        let kind = if kind == "join" && self.store.members.contains_key(&conn) { "update" } else { kind };
        let edge = self.is_alone(&member);
        self.publish(kind, "-", &member, edge);
        self.epochs.insert(conn.clone(), member.epoch);
        self.alive.insert(conn.clone(), member.clone());
        if !self.unprotected.contains(&conn) {
            self.protected.entry(conn.clone()).or_insert(member.epoch);
        }
        self.store.members.insert(conn, member);
    }

    /// A record of an operation that is new.
    fn record(&mut self, conn: &str, user: &str, epoch: u64, state: &str) -> Member {
        self.op += 1;
        let state = RawValue::from_string(state.to_owned()).unwrap();
        Member { conn: conn.into(), user: user.into(), epoch, op: self.op, state }
    }

    /// Somebody joins, here (the answer is under way) or at another gateway.
    pub(super) fn join(&mut self, conn: &str, user: &str, here: bool) {
        if self.gone.contains(conn) {
            return;
        }
        if here {
            self.room.join_began();
            self.room.hold(&ConnId::from(conn));
        }
        let epoch = self.epochs.get(conn).copied().unwrap_or(0).max(self.clock) + 1;
        let member = self.record(conn, user, epoch, "{\"joined\":true}");
        let op = member.op;
        self.put("join", member);
        if here {
            let Position { birth, seq, token } = self.store.at;
            let (own, before): (Vec<_>, Vec<_>) = self.shown().into_iter().partition(|one| one.conn.as_str() == conn);
            let result = JoinResult::Member { epoch, op };
            let joins = own.into_iter().map(|member| JoinedOne { seq, token, result, member: Some(member) }).collect();
            self.answers.push_back((conn.to_owned(), Joined { birth, seen_ms: 0, before, joins }));
        }
    }

    /// Members as snapshots and answers show them.
    fn shown(&self) -> Vec<Member> {
        let members = self.store.members.iter().filter(|(conn, _)| !self.gone.contains(*conn));
        members.map(|(_, member)| member.clone()).collect()
    }

    /// The n-th answer arrives.
    pub(super) fn answer(&mut self, n: usize) {
        let Some((conn, joined)) = self.answers.remove(n) else { return };
        let client = self.clients.entry(conn.clone()).or_default().clone();
        client.told().lenient = self.faults > 1;
        self.room.begin(&self.id, &joined, 0);
        client.answered(joined.position(0), joined.seen_by(0));
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

    /// A heartbeat patches a state. The gateway's copy of the record counts, whatever Redis has.
    pub(super) fn update(&mut self, conn: &str, state: &str) {
        let Some(known) = self.alive.get(conn).cloned() else { return };
        let changed = self.record(conn, known.user.as_str(), known.epoch, state);
        let is_stored = self.store.members.contains_key(conn);
        self.put(if is_stored { "update" } else { "restore" }, changed);
    }

    /// Somebody leaves, by its own will.
    pub(super) fn leave(&mut self, conn: &str) {
        self.audit(conn);
        if self.clients.remove(conn).is_some() {
            self.room.exit(&ConnId::from(conn));
        }
        self.alive.remove(conn);
        self.evict(conn, "left");
    }

    /// A record is removed.
    pub(super) fn evict(&mut self, conn: &str, reason: &str) {
        self.audit(conn);
        let reason = if self.gone.remove(conn) { "node_lost" } else { reason };
        self.protected.remove(conn);
        if self.alive.contains_key(conn) {
            self.unprotected.insert(conn.to_owned());
        }
        if self.store.members.contains_key(conn) {
            self.past.push(self.store.clone());
        }
        if let Some(member) = self.store.members.remove(conn) {
            let edge = self.is_alone(&member);
            self.publish("leave", reason, &member, edge);
        }
    }

    /// A gateway restores its connection: if the record is gone, or older than it says.
    pub(super) fn restore(&mut self, conn: &str) {
        let Some(known) = self.alive.get(conn).cloned() else { return };
        if self.store.members.get(conn).is_none_or(|stored| (stored.epoch, stored.op) < (known.epoch, known.op)) {
            self.put("restore", known);
        }
    }

    /// Gateways restore those whom no one evicted, and remove records of those who left.
    pub(super) fn restore_everyone(&mut self) {
        for conn in self.protected.clone().into_keys() {
            self.restore(&conn);
        }
        let strays = self.store.members.keys().filter(|conn| !self.alive.contains_key(*conn));
        for conn in strays.cloned().collect::<Vec<_>>() {
            self.evict(&conn, "node_lost");
        }
    }

    /// The gateway of somebody elsewhere is gone.
    pub(super) fn lose_gateway(&mut self, conn: &str) {
        if self.store.members.contains_key(conn) {
            self.gone.insert(conn.to_owned());
            self.alive.remove(conn);
            self.protected.remove(conn);
        }
    }

    /// Redis loses everything.
    pub(super) fn lose_everything(&mut self, is_noticed: bool) {
        self.stop(!is_noticed);
        self.past.clear();
        self.store = Store::default();
        self.gone.clear();
        self.unnoticed |= is_noticed;
    }

    /// Redis stops. Answers and events travel through it: those under way came before, or, of events, not at all.
    fn stop(&mut self, lose_events: bool) {
        while !self.answers.is_empty() {
            self.answer(0);
        }
        while !lose_events && !self.wire.is_empty() {
            self.deliver();
        }
        self.wire.clear();
        self.faults += 1;
        self.clients.values().for_each(|client| client.told().lenient = self.faults > 1);
    }

    /// Redis comes back without its last `n` changes.
    pub(super) fn roll_back(&mut self, n: usize, lose_events: bool) {
        self.stop(lose_events);
        for _ in 0..n {
            let Some(before) = self.past.pop() else { break };
            self.store = before;
            self.unnoticed = true;
        }
        let is_stored = |conn: &String| self.store.members.contains_key(conn);
        self.gone = std::mem::take(&mut self.gone).into_iter().filter(is_stored).collect();
    }

    /// Redis loses one record, which is nowhere told. An audit finds it before anything is asked of the record.
    pub(super) fn lose_one(&mut self, conn: &str) {
        if self.store.members.len() > 1 && self.alive.contains_key(conn) {
            self.store.members.remove(conn);
            self.lost.insert(conn.to_owned());
            self.unprotected.insert(conn.to_owned());
            self.past.clear();
            self.protected.remove(conn);
        }
    }

    fn audit(&mut self, conn: &str) {
        if self.lost.remove(conn) {
            self.restore(conn);
        }
    }

    /// The gateway notices that Redis may have older data.
    pub(super) fn notice(&mut self) {
        if std::mem::take(&mut self.unnoticed) {
            self.room.begin_recovery(self.now + Duration::from_secs(10), 0);
            self.repair();
        }
    }

    /// The next event arrives.
    pub(super) fn deliver(&mut self) {
        let Some(text) = self.wire.pop_front() else { return };
        let heard = self.room.hear(&self.id, &text, &RoomEvent::read(&text).unwrap());
        if self.room.take_needs_snapshot() || heard == Heard::Gap {
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
            self.look_again.clear();
        }
    }

    /// A step of the repair: a snapshot is taken, or the one that was taken arrives.
    pub(super) fn step(&mut self) {
        if !self.room.repairing {
            if self.look_again.extract_if(.., |at| *at <= self.now).count() > 0 {
                self.repair();
            }
            return;
        }
        let Some(Fetched { asked_at, heard, snapshot, protected }) = self.fetched.take() else {
            return self.fetch();
        };
        if self.room.is_idle() {
            self.room.forget();
            self.room.repairing = false;
            return;
        }
        if let Some(snapshot) = snapshot {
            self.clients.values().for_each(|client| client.told().protected.clone_from(&protected));
            self.room.reconcile(&self.id, &snapshot, asked_at, RECOVERY, 0);
            self.clients.values().for_each(|client| client.told().protected.clear());
        } else {
            self.room.bring_up_to_date(&self.id, 0);
        }
        if let Repaired::Done { recovers_until, behind_until, .. } = self.room.go_on(&self.id, heard, self.now) {
            self.look_again.extend(behind_until.into_iter().chain(recovers_until));
            let seats = &self.room.seats;
            let rejoins = &self.answers;
            self.clients
                .retain(|conn, _| seats.contains_key(conn.as_str()) || rejoins.iter().any(|(other, _)| other == conn));
        }
    }

    fn fetch(&mut self) {
        // When the room has recovered, everyone was restored in time.
        if self.room.recovery.as_ref().is_some_and(|recovery| recovery.until <= self.now) {
            self.restore_everyone();
        }
        let at = if self.store.members.is_empty() { Position::default() } else { self.store.at };
        let snapshot = Snapshot { at, seen_ms: 0, members: self.shown() };
        let unchanged = self.room.ask() == Some(at);
        self.fetched = Some(Fetched {
            asked_at: self.now,
            heard: self.room.heard(),
            snapshot: (!unchanged).then_some(snapshot),
            // What a snapshot lacks may have left, unless the gateway has noticed that Redis has older data.
            protected: if self.unnoticed { BTreeMap::new() } else { self.protected.clone() },
        });
    }

    /// Everything that is under way arrives, everybody reads, who lives is restored, and all repairs come to an end.
    pub(super) fn come_to_rest(&mut self) {
        self.clients.values().for_each(|client| client.has_space(None));
        self.gone.clone().iter().for_each(|conn| self.evict(conn, "node_lost"));
        self.alive.keys().cloned().collect::<Vec<_>>().iter().for_each(|conn| self.restore(conn));
        self.restore_everyone();
        while !self.answers.is_empty() {
            self.answer(0);
        }
        while !self.wire.is_empty() {
            self.deliver();
        }
        self.notice();
        self.repair();
        for _ in 0..100 {
            self.step();
            if let Some(at) = self.look_again.iter().min().filter(|_| !self.room.repairing) {
                self.now = self.now.max(*at);
            }
        }
        assert!(!self.room.repairing && self.look_again.is_empty(), "repairs do not end");
    }
}
