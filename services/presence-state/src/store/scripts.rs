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

use super::{Store, record::members};

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| {
            let source =
                concat!(include_str!("../scripts/room.lua"), include_str!(concat!("../scripts/", $name, ".lua")));
            Script::new($name, source)
        })
    };
}

static JOIN: LazyLock<Script> = script!("presence_join");
static HEARTBEAT: LazyLock<Script> = script!("presence_heartbeat");
static LEAVE: LazyLock<Script> = script!("presence_leave");
static REAP: LazyLock<Script> = script!("presence_reap");
static EVICT_NODE: LazyLock<Script> = script!("presence_evict_node");
static SNAPSHOT: LazyLock<Script> = script!("presence_snapshot");

/// The most that one reap evicts; a script blocks Redis while it runs.
const REAP_LIMIT: i64 = 200;

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
    /// Puts connections into a room, in order.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn join(&self, span: &Span, room: &RoomId, joins: &[(&Join, TraceContext)]) -> Result<Joined, Fault> {
        let mut args: Vec<Value> = vec![int(self.ttl_ms), int(self.expiry_ms())];
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
        type Answer = (u64, u64, Vec<String>, Vec<String>, Vec<u64>);
        let (birth, now, records, living, results): Answer = self.script(span, &JOIN, room, args, joins.len()).await?;
        self.worked();
        let mut before = members(records, living);
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
        Ok(Joined { birth, before, joins })
    }

    /// Hears of a connection; changes its state or adopts its epoch.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn heartbeat(&self, span: &Span, beat: &Heartbeat, trace: &TraceContext) -> Result<Beat, Fault> {
        let args = vec![
            beat.conn.as_str().into(),
            int(beat.op),
            int(beat.base_op),
            beat.epoch.map_or_else(|| (-1).into(), int),
            beat.state.as_deref().map_or("", RawValue::get).into(),
            traceparent(trace),
        ];
        let answer: Vec<String> = self.script(span, &HEARTBEAT, &beat.room, args, 1).await?;
        self.worked();
        let number = |at: usize| answer.get(at).and_then(|text| text.parse().ok()).ok_or_else(broken);
        Ok(match answer.first().map(String::as_str) {
            Some("missing") => Beat::Missing,
            Some("overtaken") => Beat::Overtaken,
            Some("stale") => Beat::Stale { epoch: number(1)? },
            Some("conflict") => {
                let state = answer.get(3).cloned().and_then(|text| RawValue::from_string(text).ok());
                Beat::Conflict { epoch: number(1)?, op: number(2)?, state: state.ok_or_else(broken)? }
            }
            Some("ok") => Beat::Taken { epoch: number(1)?, op: number(2)?, changed: number(3)? == 1 },
            _ => return Err(broken()),
        })
    }

    /// Takes a connection out; answers how many remain, `None` when it was not there.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn leave(&self, span: &Span, leave: &Leave, trace: &TraceContext) -> Result<Option<u64>, Fault> {
        let args = vec![leave.conn.as_str().into(), int(leave.op), leave.reason.as_str().into(), traceparent(trace)];
        let remaining: i64 = self.script(span, &LEAVE, &leave.room, args, 1).await?;
        self.worked();
        Ok(remaining.try_into().ok())
    }

    /// Evicts what has outlived its TTL, up to a limit.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn reap(&self, span: &Span, room: &RoomId, trace: &TraceContext) -> Result<Eviction, Fault> {
        let args = vec![int(self.ttl_ms), REAP_LIMIT.into(), traceparent(trace)];
        let (count, remaining, due): (u64, u64, u64) = self.script(span, &REAP, room, args, 1).await?;
        self.worked();
        Ok((Evicted { count, remaining }, Some(due).filter(|due| *due > 0)))
    }

    /// Evicts the connections of a lost gateway.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn evict_node(&self, span: &Span, evict: &EvictNode, trace: &TraceContext) -> Result<Evicted, Fault> {
        let args = vec![evict.node.as_str().into(), int(evict.lease_end_ms), traceparent(trace)];
        let (count, remaining): (u64, u64) = self.script(span, &EVICT_NODE, &evict.room, args, 1).await?;
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
        let args = vec![int(self.ttl_ms), birth.into(), seq.into()];
        let answer: Value = self.script(span, &SNAPSHOT, room, args, 1).await?;
        self.worked();
        if matches!(&answer, Value::Array(parts) if parts.is_empty()) {
            return Ok(None);
        }
        let (birth, seq, records, living): (u64, u64, Vec<String>, Vec<String>) =
            answer.convert().map_err(|_| broken())?;
        Ok(Some(Snapshot { birth, seq, members: members(records, living) }))
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

fn int(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn traceparent(trace: &TraceContext) -> Value {
    trace.traceparent().unwrap_or_default().into()
}

fn broken() -> Fault {
    Fault::new(Code::Internal, "a stored record cannot be read")
}
