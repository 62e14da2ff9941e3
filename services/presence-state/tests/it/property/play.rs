//! Plays steps against Redis and the model, and compares after each.

use fred::{
    bytes::Bytes,
    cmd,
    interfaces::{ClientLike as _, KeysInterface as _},
    types::Value,
};
use rollcall_presence_state::store::Beat;
use rollcall_protocol::{
    Info,
    command::{Heartbeat, Join, JoinResult, Restore, Restored, Strays},
    event::Reason,
};

use super::{
    invariants,
    model::{Model, Said},
    step::{CONNS, Fence, Step},
};
use crate::{
    events::{Events, Published},
    site::{Site, beat, info, join, json},
};

/// A command, kept for being sent once more.
enum Act {
    Join(Join),
    Restore(String, Restored),
    Beat(Heartbeat),
    Leave(usize, u64),
}

/// What a gateway remembers of a connection.
#[derive(Default)]
struct Memory {
    op: u64,
    user: Option<String>,
    info: Option<Info>,
    highest_epoch: u64,
}

/// The store at one moment: its keys and what is in them.
type Moment = Vec<(String, Value)>;

struct Play<'a> {
    site: &'a Site,
    events: Events,
    heard: Vec<Published>,
    model: Model,
    memories: [Memory; CONNS],
    last: Option<Act>,
    moments: Vec<Moment>,
    /// Redis came back with older data: the events are no chain from the first to the last.
    is_forked: bool,
}

/// Plays it all, then has everyone leave.
pub(super) async fn play(site: &Site, steps: &[Step]) {
    let events = site.listen().await;
    let (model, memories) = (Model::default(), Default::default());
    let mut play =
        Play { site, events, heard: Vec::new(), model, memories, last: None, moments: Vec::new(), is_forked: false };
    for step in steps {
        play.remember().await;
        play.step(step).await;
        play.compare().await;
    }
    for conn in 0..CONNS {
        play.step(&Step::Leave { conn, late: false }).await;
        play.compare().await;
    }
    if !play.is_forked {
        invariants::check(&play.heard);
    }
    let keys = site.all_keys().await;
    assert!(keys.is_empty(), "an empty room leaves no key: {keys:?}");
}

impl Play<'_> {
    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Join { conn, user, info: of } => {
                let there = self.model.records.get(&name(conn)).map(|record| record.user.clone());
                let user = there.unwrap_or_else(|| format!("u{user}"));
                self.memories[conn].user = Some(user.clone());
                self.memories[conn].info = of.and_then(|n| info(&format!(r#"{{"n":{n}}}"#)));
                let act = self.join(conn, &user);
                self.act(act).await;
            }
            Step::Restore { conn } => {
                let Some(user) = self.memories[conn].user.clone() else { return };
                let member = self.believed(conn, &user);
                self.act(Act::Restore(gateway_name(conn % 2), member)).await;
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
            Step::LoseGateway { gateway } => {
                let lost = gateway_name(gateway);
                let reaped = self.site.reap(&[&lost]).await;
                assert!(!reaped.more);
                self.evicted(reaped.evicted, Reason::NodeLost, &lost).await;
            }
            Step::RollBack { steps } => self.roll_back(steps).await,
        }
    }

    async fn act(&mut self, act: Act) {
        match &act {
            Act::Join(join) => {
                let answer = self.site.join_together(std::slice::from_ref(join)).await.joins.remove(0);
                self.model.join(join, &answer);
                if let JoinResult::Member { epoch, .. } = answer.result {
                    self.learn(join.conn.as_str(), epoch);
                }
            }
            Act::Restore(gateway, member) => {
                let written = self.site.restore(gateway, vec![member.clone()]).await;
                assert_eq!(written == 1, self.model.restore(gateway, member), "{member:?}");
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

    fn join(&mut self, conn: usize, user: &str) -> Act {
        let op = self.op(conn, false);
        Act::Join(Join {
            gateway: gateway_name(conn % 2).as_str().into(),
            known_epoch: self.memories[conn].highest_epoch,
            info: self.memories[conn].info.clone(),
            state: json(&format!(r#"{{"joined":{op}}}"#)),
            ..join(&name(conn), user, op)
        })
    }

    /// What a gateway has of a connection: its copy is the record, or newer.
    fn believed(&mut self, conn: usize, user: &str) -> Restored {
        let there = self.model.records.get(&name(conn)).cloned();
        let op = self.op(conn, false);
        let epoch = self.memories[conn].highest_epoch;
        let state = there.map_or_else(|| format!(r#"{{"kept":{op}}}"#), |record| record.state);
        let info = self.memories[conn].info.clone();
        Restored { conn: name(conn).as_str().into(), user: user.into(), op, epoch, info, state: json(&state) }
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
        let (room, info) = (self.site.room.clone(), self.memories[conn].info.clone());
        let state = state.as_deref().map(json);
        Act::Beat(Heartbeat { room, epoch, info, state, ..beat(&name(conn), op, base_op) })
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
    async fn evicted(&mut self, count: u64, reason: Reason, gateway: &str) {
        let events = self.hear().await;
        for event in &events {
            let conn = event.read().conn;
            assert_eq!(self.model.records[conn].gateway, gateway, "{conn} was evicted");
            self.model.remove(conn, reason);
        }
        assert!(!self.model.records.values().any(|record| record.gateway == gateway), "one was overlooked");
        assert_eq!(count, events.len() as u64);
        self.agree(&events);
    }

    async fn remember(&mut self) {
        let mut keys = Vec::new();
        for key in self.site.all_keys().await {
            let dump: Bytes = self.site.redis().dump(&key).await.unwrap();
            keys.push((key, Value::Bytes(dump)));
        }
        self.moments.push(keys);
    }

    /// The store is as it was; then each gateway says what it has, and the room is that again.
    async fn roll_back(&mut self, steps: usize) {
        self.is_forked = true;
        let truth = self.model.records.clone();
        let moment = &self.moments[self.moments.len().saturating_sub(steps + 1)];
        for key in self.site.all_keys().await {
            let () = self.site.redis().del(key).await.unwrap();
        }
        for (key, dump) in moment {
            let args = vec![key.as_str().into(), 0.into(), dump.clone()];
            let () = self.site.redis().custom(cmd!("RESTORE"), args).await.unwrap();
        }
        let all_others = Strays { before_ms: u64::MAX >> 11, stay: Vec::new() };
        for gateway in [gateway_name(0), gateway_name(1)] {
            let own = truth.iter().filter(|(_, record)| record.gateway == gateway);
            let members = own.map(|(conn, record)| Restored {
                conn: conn.as_str().into(),
                user: record.user.as_str().into(),
                op: record.op,
                epoch: record.epoch,
                info: record.info.clone(),
                state: json(&record.state),
            });
            let restore = Restore {
                room: self.site.room.clone(),
                gateway: gateway.as_str().into(),
                members: members.collect(),
                strays: None,
            };
            self.site.store.restore(self.site.caller(), &restore).await.unwrap();
            self.site.store.prune(self.site.caller(), &restore, &all_others).await.unwrap();
        }
        self.hear().await;
        // Where the room stands is the store's affair; who is in it is the gateways'.
        self.model = Model { records: truth, seq: self.site.snapshot().await.at.seq, said: Vec::new() };
        self.last = None;
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
        members.sort_by_key(|member| &member.conn);
        assert_eq!(members.len(), self.model.records.len(), "{members:?} {:?}", self.model.records);
        for (member, (conn, record)) in members.iter().zip(&self.model.records) {
            assert_eq!((member.conn.as_str(), member.user.as_str()), (conn.as_str(), record.user.as_str()));
            assert_eq!((member.epoch, member.op, member.state.get()), (record.epoch, record.op, record.state.as_str()));
            assert_eq!(member.info, record.info);
        }
        assert_eq!((snapshot.at.seq, snapshot.at.generation == 0), (self.model.seq, self.model.records.is_empty()));
    }
}

fn name(conn: usize) -> String {
    format!("c{conn}")
}

fn gateway_name(gateway: usize) -> String {
    format!("presence-gateway-{gateway:08x}")
}
