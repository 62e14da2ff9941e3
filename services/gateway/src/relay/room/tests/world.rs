//! One room as Redis has it, the way of its events to one gateway, and that gateway's repairs: everything around a
//! [`Room`] that may be late, lost, doubled or in another order; and Redis itself may come back with older data.

mod faults;
mod repair;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use rollcall_protocol::{
    ConnId, Info, Position, RoomId,
    command::{JoinResult, Joined, JoinedOne, Member, Snapshot},
};
use serde_json::value::RawValue;

use super::{
    client::{Client, View, entry},
    clock::Clock,
};
use crate::relay::room::{Join, Room};

const TRUCE: Duration = Duration::from_secs(10);
/// A larger step of Redis' clock is noticed.
const NOTICED_STEP_MS: u64 = 1_000;
/// Without an answer for so long the gateway takes Redis for one that may have lost something.
const SILENCE_MS: u64 = 1_500;

/// The room as Redis has it.
#[derive(Clone, Default)]
struct Store {
    at: Position,
    members: BTreeMap<String, Member>,
    /// Under which history the room last changed.
    history: u64,
}

/// The answer to a join.
pub(super) struct Answer {
    pub(super) conn: String,
    joined: Joined,
    join: Join,
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
    pub(super) room: Room<Client>,
    /// Sockets of this gateway that are in the room, as far as they know.
    pub(super) clients: BTreeMap<String, Client>,
    store: Store,
    /// The room before each of the last changes.
    past: Vec<Store>,
    clock: Clock,
    /// How often Redis was started again.
    history: u64,
    /// When the gateway's lease was last acknowledged, and when that was before Redis last seemed to have lost something, in
    /// milliseconds of Redis' clock; and until when no one is evicted.
    exchanged_ms: u64,
    calm_ms: u64,
    truce_until: Instant,
    /// The clock was set back by so little that no one noticed.
    was_set_back: bool,
    /// The last operation.
    op: u64,
    epochs: BTreeMap<String, u64>,
    /// Whose gateway is gone: snapshots and answers leave them out, and they are not evicted yet.
    gone: BTreeSet<String>,
    /// Members that are alive, each with its last record: what gateways restore.
    alive: BTreeMap<String, Member>,
    /// Single records that Redis lost, and no one has noticed.
    lost: BTreeSet<String>,
    /// Members of whom no one may be sent a leave, each with its epoch when it came.
    protected: BTreeMap<String, u64>,
    /// Who was evicted, or lost without a word, and came back with the same epoch: both may be sent.
    unprotected: BTreeSet<String>,
    /// How often Redis lost data.
    faults: usize,
    /// Redis came back with older data, and the gateway does not know yet.
    unnoticed: bool,
    /// Events under way to this gateway.
    pub(super) wire: VecDeque<String>,
    /// Joins that Redis has carried out and whose answers are under way.
    pub(super) answers: VecDeque<Answer>,
    /// The repair under way.
    pub(super) repair: u64,
    fetched: Option<Fetched>,
    pub(super) look_again: Vec<Instant>,
    /// When members that are behind are tried again.
    pub(super) catch_up_at: Option<Instant>,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            id: RoomId::from("room"),
            room: Room::default(),
            clients: BTreeMap::new(),
            store: Store::default(),
            past: Vec::new(),
            clock: Clock::new(),
            history: 0,
            exchanged_ms: 0,
            calm_ms: 0,
            truce_until: now,
            was_set_back: false,
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
            repair: 0,
            fetched: None,
            look_again: Vec::new(),
            catch_up_at: None,
            now,
        }
    }

    /// What everyone should believe.
    pub(super) fn truth(&self) -> View {
        self.store.members.values().map(entry).collect()
    }

    pub(super) fn at(&self) -> Position {
        self.store.at
    }

    fn publish(&mut self, kind: &str, reason: &str, member: &Member, edge: bool) {
        let now_us = self.clock.read_us();
        if std::mem::replace(&mut self.store.history, self.history) != self.history {
            self.store.at = Position { generation: now_us.max(self.store.at.generation + 1), seq: 0, token: 0 };
        }
        let previous = self.store.at.token;
        self.store.at.token = now_us.max(previous + 1);
        self.store.at.seq += 1;
        let Position { generation, seq, token } = self.store.at;
        let Member { conn, user, epoch, op, info, state } = member;
        let edge = u8::from(edge);
        let head = format!("3 {generation} {seq} {token} {previous} 0 {epoch} {op} {kind} {reason} {edge}");
        let info = info.as_ref().map_or("", Info::as_str);
        self.wire.push_back(format!("{head}\n\n{conn}\n{user}\n{info}\n{state}"));
    }

    fn is_alone(&self, member: &Member) -> bool {
        !self.store.members.values().any(|other| other.user == member.user && other.conn != member.conn)
    }

    /// Writes a record and publishes it.
    fn put(&mut self, kind: &str, member: Member) {
        self.past.push(self.store.clone());
        if self.store.members.is_empty() {
            self.store.at = Position { generation: self.clock.read_us(), seq: 0, token: 0 };
            self.store.history = self.history;
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
    fn record(&mut self, conn: &str, user: &str, epoch: u64, info: Option<Info>, state: &str) -> Member {
        self.op += 1;
        let state = RawValue::from_string(state.to_owned()).unwrap();
        Member { conn: conn.into(), user: user.into(), epoch, op: self.op, info, state }
    }

    /// Somebody joins, here (the answer is under way) or at another gateway.
    pub(super) fn join(&mut self, conn: &str, user: &str, here: bool) {
        if self.gone.contains(conn) {
            return;
        }
        let begun = here.then(|| self.room.join_began());
        if here {
            self.room.hold(&ConnId::from(conn));
        }
        let epoch = self.clock.now_ms().max(self.epochs.get(conn).map_or(0, |epoch| epoch + 1));
        // Every third join has no info, and each other one another info.
        let info =
            (!self.op.is_multiple_of(3)).then(|| serde_json::from_str(&format!("{{\"n\":{}}}", self.op)).unwrap());
        let member = self.record(conn, user, epoch, info, "{\"joined\":true}");
        let op = member.op;
        self.put("join", member);
        if let Some(join) = begun {
            let Position { generation, seq, token } = self.store.at;
            let (own, before): (Vec<_>, Vec<_>) = self.shown().into_iter().partition(|one| one.conn.as_str() == conn);
            let result = JoinResult::Member { epoch, op };
            let joins = own.into_iter().map(|member| JoinedOne { seq, token, result, member: Some(member) }).collect();
            let joined = Joined { generation, seen_ms: 0, before, joins };
            self.answers.push_back(Answer { conn: conn.to_owned(), joined, join });
        }
    }

    /// Members as snapshots and answers show them.
    fn shown(&self) -> Vec<Member> {
        let members = self.store.members.iter().filter(|(conn, _)| !self.gone.contains(*conn));
        members.map(|(_, member)| member.clone()).collect()
    }

    /// The n-th answer arrives.
    pub(super) fn answer(&mut self, n: usize) {
        let Some(Answer { conn, joined, join }) = self.answers.remove(n) else { return };
        let client = self.clients.entry(conn.clone()).or_default().clone();
        client.received().lenient = self.faults > 1;
        self.room.begin(&self.id, &joined, 0);
        client.answered(joined.position(0), joined.seen_by(0));
        self.room.admit(&self.id, &ConnId::from(conn.as_str()), client, &joined, 0);
        self.see_to_wanted();
        self.room.join_ended(join);
    }

    /// A heartbeat patches a state. The gateway's copy of the record counts, whatever Redis has.
    pub(super) fn update(&mut self, conn: &str, state: &str) {
        let Some(known) = self.alive.get(conn).cloned() else { return };
        let changed = self.record(conn, known.user.as_str(), known.epoch, known.info, state);
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
}
