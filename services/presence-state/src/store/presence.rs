//! Presence in Redis.

use std::sync::LazyLock;

use bus::script::Script;
use fred::{bytes_utils::Str, types::Value};
use keyspace::gateway_code;
use protocol::{
    Fault, Position, RoomId,
    command::{Heartbeat, Join, JoinResult, Joined, JoinedOne, Leave, Member, Restore, Snapshot},
    limits::{MAX_ROOM_BYTES, MAX_ROOM_MEMBERS},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tracing::Span;

use super::{
    Caller, Run, Store, args::Args, broken, int, member::stored, shared_span, source::script, traceparent,
    traceparent_of,
};

static JOIN: LazyLock<Script> = LazyLock::new(|| script("presence_join"));
static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| script("presence_heartbeat"));
static LEAVE: LazyLock<Script> = LazyLock::new(|| script("presence_leave"));
static RESTORE: LazyLock<Script> = LazyLock::new(|| script("presence_restore"));
static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| script("presence_snapshot"));

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
    /// The room would have more bytes of states than it may have.
    Full,
    /// The caller's copy is older than the record.
    Conflict {
        /// The stored epoch.
        epoch: u64,
        /// The operation of the stored state.
        op: u64,
        /// The stored state.
        state: Box<RawValue>,
    },
    /// Carried out.
    Taken {
        /// The epoch in force.
        epoch: u64,
        /// The operation that the record stands at.
        op: u64,
        /// Whether the state changed.
        changed: bool,
    },
}

/// Joins that were carried out, and the gateways that are gone and still have records in the room. Newcomers are not shown
/// those.
#[derive(Debug)]
pub struct Joins {
    /// What is answered.
    pub joined: Joined,
    /// Codes of gateways.
    pub gone: Vec<String>,
}

/// What a snapshot read.
#[derive(Debug)]
pub enum Read {
    /// The room stands where the caller knows it.
    Unchanged,
    /// The room, and the gateways that seem to be gone and still have records in it.
    Room(Snapshot, Vec<String>),
}

impl Store {
    /// Puts connections into a room, in order.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `OVERLOADED`, `INTERNAL`.
    pub async fn join(
        &self,
        caller: Caller<'_>,
        room: &RoomId,
        joins: &[(&Join, TraceContext)],
    ) -> Result<Joins, Fault> {
        let mut args = vec![room.as_str().into(), int(MAX_ROOM_MEMBERS as u64), int(MAX_ROOM_BYTES as u64)];
        for (join, trace) in joins {
            args.extend([
                join.conn.as_str().into(),
                join.user.as_str().into(),
                gateway_code(&join.gateway).into(),
                int(join.op),
                int(join.known_epoch),
                join.state.get().into(),
                traceparent(trace),
            ]);
        }
        let base = self.base_of(room);
        let about = keyspace::room(base, room);
        let run = Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: joins.len() };
        let (birth, records, results): (u64, Vec<String>, Vec<String>) = self.write(caller, &JOIN, run).await?;
        let (mut before, gone) = self.without_gone(stored(records).collect()).await;
        let joins: Option<Vec<_>> = joins
            .iter()
            .zip(results.chunks_exact(5))
            .map(|((join, _), result)| {
                let [seq, token, epoch, op] = [1, 2, 3, 4].map(|part| result[part].parse::<u64>().ok());
                let (seq, token, epoch, op) = (seq?, token?, epoch?, op?);
                let new = || Member {
                    conn: join.conn.clone(),
                    user: join.user.clone(),
                    epoch,
                    op,
                    state: join.state.clone(),
                };
                let (result, member) = match result[0].as_str() {
                    "new" => (JoinResult::Member { epoch, op }, Some(new())),
                    "same" => (JoinResult::Member { epoch, op }, None),
                    "full" => (JoinResult::Full, None),
                    _ => (JoinResult::Overtaken, None),
                };
                if member.is_some() {
                    before.retain(|member| member.conn != join.conn);
                }
                Some(JoinedOne { seq, token, result, member })
            })
            .collect();
        let joins = joins.ok_or_else(broken)?;
        Ok(Joins { joined: Joined { birth, seen_ms: self.bus.seen_ms(), before, joins }, gone })
    }

    /// Changes states of connections or their epochs, in order, in any rooms of one [slot](Store::slot). The call belongs to the
    /// trace of the first traced one, and the others are linked to it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `OVERLOADED`, `INTERNAL`: for all of them.
    pub async fn heartbeats(&self, deadline_ms: u64, beats: &[(&Heartbeat, &Span)]) -> Result<Vec<Beat>, Fault> {
        let (mut bases, mut args) = (Vec::with_capacity(beats.len()), Args::with_capacity(beats.len() * 8 + 1));
        args.number(int(MAX_ROOM_BYTES as u64));
        for (beat, span) in beats {
            bases.push(self.base_of(&beat.room).clone());
            args.text(beat.room.as_str());
            args.text(beat.conn.as_str());
            args.number(int(beat.op));
            args.number(int(beat.base_op));
            args.number(int(beat.known_epoch));
            args.number(beat.epoch.map_or_else(|| (-1).into(), int));
            args.text(beat.state.as_deref().map_or("", RawValue::get));
            args.text(&TraceContext::of(span).traceparent().unwrap_or_default());
        }
        let span = shared_span(beats.iter().map(|(_, span)| *span));
        let about = beats.first().zip(bases.first()).map_or_else(String::new, |((beat, _), base)| {
            if span.is_disabled() { String::new() } else { keyspace::room(base, &beat.room) }
        });
        let at = beats.first().map_or_else(|| RoomId::from("").partition(), |(beat, _)| beat.room.partition());
        let run = Run { about: &about, at, bases, args: args.into_values(), batch: beats.len() };
        let answers: Vec<Str> = self.write(Caller { span: &span, deadline_ms }, &HEARTBEAT, run).await?;
        if answers.len() != beats.len() {
            return Err(broken());
        }
        answers.iter().map(|answer| Beat::read(answer).ok_or_else(broken)).collect()
    }

    /// Removes a connection; answers how many remain, `None` if it was not there.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn leave(&self, caller: Caller<'_>, leave: &Leave) -> Result<Option<u64>, Fault> {
        let args = vec![
            leave.room.as_str().into(),
            leave.conn.as_str().into(),
            int(leave.op),
            leave.reason.as_str().into(),
            traceparent_of(caller.span),
        ];
        let remaining: i64 = self.write_room(caller, &LEAVE, &leave.room, args).await?;
        Ok(remaining.try_into().ok())
    }

    /// Puts records back; answers how many had to be written.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn restore(&self, caller: Caller<'_>, restore: &Restore) -> Result<u64, Fault> {
        let mut args =
            vec![restore.room.as_str().into(), gateway_code(&restore.gateway).into(), traceparent_of(caller.span)];
        for member in &restore.members {
            args.extend([
                member.conn.as_str().into(),
                member.user.as_str().into(),
                int(member.op),
                int(member.epoch),
                member.state.get().into(),
            ]);
        }
        self.write_room(caller, &RESTORE, &restore.room, args).await
    }

    /// Lists the members of a room. Those of gateways that are gone are among them: whoever asks has shown them before, and their
    /// one leave is still to come.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn snapshot(&self, span: &Span, room: &RoomId, known: Option<Position>) -> Result<Read, Fault> {
        let mut args: Vec<Value> = vec![room.as_str().into()];
        match known {
            Some(Position { birth, seq, token }) => args.extend([int(birth), int(seq), int(token)]),
            None => args.extend(["", "", ""].map(Value::from)),
        }
        let base = self.base_of(room);
        let about = keyspace::members(base, room);
        let run = Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: 1 };
        let answer: Value = self.run(span, &SNAPSHOT, run).await?;
        if matches!(&answer, Value::Array(parts) if parts.is_empty()) {
            return Ok(Read::Unchanged);
        }
        let (birth, seq, token, records): (u64, u64, u64, Vec<String>) = answer.convert().map_err(|_| broken())?;
        let stored: Vec<_> = stored(records).collect();
        let gone = self.seem_gone(&stored);
        let members = stored.into_iter().map(|one| one.member).collect();
        let at = Position { birth, seq, token };
        Ok(Read::Room(Snapshot { at, seen_ms: self.bus.seen_ms(), members }, gone))
    }

    /// Runs a script on one room.
    pub(super) async fn write_room<R: fred::types::FromValue>(
        &self,
        caller: Caller<'_>,
        script: &'static LazyLock<Script>,
        room: &RoomId,
        args: Vec<Value>,
    ) -> Result<R, Fault> {
        let base = self.base_of(room);
        let about = keyspace::room(base, room);
        self.write(
            caller,
            script,
            Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: 1 },
        )
        .await
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
            "full" => Beat::Full,
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
