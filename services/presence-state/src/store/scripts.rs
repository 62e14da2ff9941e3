//! One function for each script of `src/scripts`.

use std::sync::LazyLock;

use bus::script::Script;
use fred::types::Value;
use protocol::{
    Code, Fault, RoomId,
    client::Member,
    command::{EvictNode, Heartbeat, Join, Joined, JoinedOne, Leave, Outcome, Snapshot},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tracing::Span;

use super::{Store, TRUCE, broken, int, keys, keys_with_locks, record::members, script, traceparent};

static JOIN: LazyLock<Script> = script!("clock", "room", "lock", "locks", "departure", "presence_join");
static HEARTBEAT: LazyLock<Script> = script!("clock", "room", "presence_heartbeat");
static LEAVE: LazyLock<Script> = script!("clock", "room", "lock", "locks", "departure", "presence_leave");
static REAP: LazyLock<Script> = script!("clock", "room", "lock", "locks", "departure", "presence_reap");
static EVICT_NODE: LazyLock<Script> = script!("clock", "room", "lock", "locks", "departure", "presence_evict_node");
static SNAPSHOT: LazyLock<Script> = script!("clock", "room", "presence_snapshot");

/// The most that one reap or join evicts; a script blocks Redis while it runs.
const EVICTED_AT_MOST: i64 = 200;

/// What became of a heartbeat.
#[derive(Debug)]
pub enum Beat {
    /// There is no record.
    Missing,
    /// The stored epoch is higher.
    Stale {
        /// The stored epoch.
        epoch: u64,
    },
    /// A later operation of the connection was there first.
    Overtaken,
    /// The caller's copy is not the record.
    Conflict {
        /// The stored epoch.
        epoch: u64,
        /// The operation of the stored state.
        op: u64,
        /// The stored state.
        state: Box<RawValue>,
    },
    /// Taken.
    Taken {
        /// The epoch in force.
        epoch: u64,
        /// The operation that the record stands at.
        op: u64,
        /// Whether the state changed.
        changed: bool,
    },
}

/// What a reap or eviction did.
#[derive(Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Connections evicted.
    pub count: u64,
    /// Connections that remain.
    pub remaining: u64,
}

/// An [`Evicted`] and when to look again, in milliseconds of Redis' clock; none when the room is empty.
pub type Eviction = (Evicted, Option<u64>);

impl Store {
    /// Puts connections into a room, in order; answers also how many that have outlived their TTL were evicted for it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn join(
        &self,
        span: &Span,
        room: &RoomId,
        joins: &[(&Join, TraceContext)],
    ) -> Result<(Joined, u64), Fault> {
        let most = if self.bus.was_redis_away(TRUCE) { 0 } else { EVICTED_AT_MOST };
        let mut args: Vec<Value> = vec![int(self.ttl_ms), most.into(), int(self.expiry_ms())];
        for (join, trace) in joins {
            args.extend([
                join.conn.as_str().into(),
                join.user.as_str().into(),
                join.node.as_str().into(),
                int(join.op),
                int(join.known_epoch),
                i64::from(join.restore).into(),
                join.state.get().into(),
                traceparent(trace),
            ]);
        }
        type Answer = (u64, u64, Vec<String>, Vec<String>, Vec<u64>, u64);
        let (birth, now, records, seen, results, evicted): Answer =
            self.script(span, &JOIN, keys_with_locks(room), args, joins.len()).await?;
        self.worked();
        let mut before = members(records, seen);
        let joins = joins.iter().zip(results.chunks_exact(4)).map(|((join, _), result)| {
            let [seq, epoch, op, new] = [result[0], result[1], result[2], result[3]];
            let member = (new == 1).then(|| {
                before.retain(|member| member.conn_id != join.conn);
                Member {
                    conn_id: join.conn.clone(),
                    user_id: join.user.clone(),
                    state: join.state.clone(),
                    last_seen_ms: now,
                    epoch,
                }
            });
            JoinedOne { seq, epoch, op, member }
        });
        let joins = joins.collect();
        Ok((Joined { birth, before, joins }, evicted))
    }

    /// Hears of connections, in order, of any rooms of one [place](Store::place); changes their states or adopts their
    /// epochs. The call belongs to the trace of the first traced one, and the others are linked to it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`: for all of them.
    pub async fn heartbeats(&self, beats: &[(&Heartbeat, &Span)]) -> Result<Vec<Beat>, Fault> {
        let none = Span::none();
        let mut traced = beats.iter().map(|(_, span)| *span).filter(|span| !span.is_disabled());
        let parent = traced.next().unwrap_or(&none);
        let (mut rooms, mut args) = (Vec::with_capacity(beats.len()), Vec::with_capacity(beats.len() * 6));
        for (beat, span) in beats {
            rooms.push(&beat.room);
            args.extend([
                beat.conn.as_str().into(),
                int(beat.op),
                int(beat.base_op),
                beat.epoch.map_or_else(|| (-1).into(), int),
                beat.state.as_deref().map_or("", RawValue::get).into(),
                traceparent(&TraceContext::of(span)),
            ]);
        }
        if !parent.is_disabled() {
            let call = TraceContext::of(parent);
            traced.for_each(|span| call.link(span));
        }
        let answers: Vec<String> = self.script(parent, &HEARTBEAT, keys(&rooms), args, beats.len()).await?;
        self.worked();
        if answers.len() != beats.len() {
            return Err(broken());
        }
        answers.iter().map(|answer| Beat::read(answer).ok_or_else(broken)).collect()
    }

    /// Takes a connection out; answers how many remain, `None` when it was not there.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn leave(&self, span: &Span, leave: &Leave, trace: &TraceContext) -> Result<Option<u64>, Fault> {
        let args = vec![leave.conn.as_str().into(), int(leave.op), leave.reason.as_str().into(), traceparent(trace)];
        let remaining: i64 = self.script(span, &LEAVE, keys_with_locks(&leave.room), args, 1).await?;
        self.worked();
        Ok(remaining.try_into().ok())
    }

    /// Evicts what has outlived its TTL, up to a limit.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn reap(&self, span: &Span, room: &RoomId, trace: &TraceContext) -> Result<Eviction, Fault> {
        let args = vec![int(self.ttl_ms), EVICTED_AT_MOST.into(), traceparent(trace)];
        let (count, remaining, due): (u64, u64, u64) = self.script(span, &REAP, keys_with_locks(room), args, 1).await?;
        self.worked();
        Ok((Evicted { count, remaining }, Some(due).filter(|due| *due > 0)))
    }

    /// Evicts the connections of a lost gateway.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn evict_node(&self, span: &Span, evict: &EvictNode, trace: &TraceContext) -> Result<Evicted, Fault> {
        let args = vec![evict.node.as_str().into(), int(evict.lease_end_ms), traceparent(trace)];
        let (count, remaining): (u64, u64) =
            self.script(span, &EVICT_NODE, keys_with_locks(&evict.room), args, 1).await?;
        self.worked();
        Ok(Evicted { count, remaining })
    }

    /// Who is in a room; `None` when it stands at `known`.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn snapshot(
        &self,
        span: &Span,
        room: &RoomId,
        known: Option<(u64, u64)>,
    ) -> Result<Option<Snapshot>, Fault> {
        let (birth, seq) = known.map_or_else(Default::default, |(birth, seq)| (birth.to_string(), seq.to_string()));
        let args = vec![birth.into(), seq.into()];
        let answer: Value = self.script(span, &SNAPSHOT, keys(&[room]), args, 1).await?;
        self.worked();
        if matches!(&answer, Value::Array(parts) if parts.is_empty()) {
            return Ok(None);
        }
        let (birth, seq, records, seen): (u64, u64, Vec<String>, Vec<String>) =
            answer.convert().map_err(|_| broken())?;
        Ok(Some(Snapshot { birth, seq, members: members(records, seen) }))
    }
}

impl Beat {
    /// Reads the line that the script answers.
    fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        let kind = parts.next()?;
        let mut number = || parts.next()?.parse().ok();
        Some(match kind {
            "missing" => Beat::Missing,
            "overtaken" => Beat::Overtaken,
            "stale" => Beat::Stale { epoch: number()? },
            "ok" => Beat::Taken { epoch: number()?, op: number()?, changed: number()? == 1 },
            "conflict" => {
                let (epoch, op) = (number()?, number()?);
                Beat::Conflict { epoch, op, state: RawValue::from_string(parts.next()?.to_owned()).ok()? }
            }
            _ => return None,
        })
    }
}

impl From<Beat> for Outcome {
    fn from(beat: Beat) -> Self {
        match beat {
            Beat::Missing => Outcome::Missing,
            Beat::Stale { epoch } => Outcome::Stale { epoch },
            Beat::Conflict { epoch, op, state } => Outcome::Conflict { epoch, op, state },
            Beat::Taken { epoch, op, changed } => Outcome::Beat { changed, epoch, op },
            Beat::Overtaken => Outcome::Fault(Fault::new(Code::Timeout, "a later heartbeat was there first")),
        }
    }
}
