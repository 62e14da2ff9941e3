//! Joins, leaves, restores and snapshots in Redis.

use std::sync::LazyLock;

use fred::types::Value;
use rollcall_bus::script::Script;
use rollcall_keyspace::gateway_code;
use rollcall_protocol::{
    Fault, Position, RoomId,
    command::{Join, JoinResult, Joined, JoinedOne, Leave, Member, Restore, Snapshot},
    limits::{MAX_ROOM_BYTES, MAX_ROOM_MEMBERS},
};
use rollcall_telemetry::propagation::TraceContext;
use tracing::Span;

use super::{Caller, Run, Store, broken, content, int, member::stored, source::script, traceparent, traceparent_of};

static JOIN: LazyLock<Script> = LazyLock::new(|| script("presence_join"));
static LEAVE: LazyLock<Script> = LazyLock::new(|| script("presence_leave"));
static RESTORE: LazyLock<Script> = LazyLock::new(|| script("presence_restore"));
static SNAPSHOT: LazyLock<Script> = LazyLock::new(|| script("presence_snapshot"));

/// Joins that were carried out, and the gone gateways that still have records in the room. These records are not shown to
/// newcomers.
#[derive(Debug)]
pub struct Joins {
    /// The answer.
    pub joined: Joined,
    /// Codes of the gone gateways.
    pub gone: Vec<String>,
}

/// The result of a snapshot.
#[derive(Debug)]
pub enum Read {
    /// The room is at the position that the caller knows.
    Unchanged,
    /// The room, and the gateways that seem to be gone and still have records in it.
    Room(Snapshot, Vec<String>),
}

impl Store {
    /// Adds connections to a room, in order.
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
                content::parts(join.info.as_ref(), &join.state).concat().into(),
                traceparent(trace),
            ]);
        }
        let base = self.base_of(room);
        let about = rollcall_keyspace::room(base, room);
        let run = Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: joins.len() };
        let (generation, records, results): (u64, Vec<String>, Vec<String>) = self.write(caller, &JOIN, run).await?;
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
                    info: join.info.clone(),
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
        Ok(Joins { joined: Joined { generation, seen_ms: self.bus.seen_ms(), before, joins }, gone })
    }

    /// Removes a connection; returns how many members remain, `None` if it was not a member.
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

    /// Restores records; returns how many had to be written.
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
                content::parts(member.info.as_ref(), &member.state).concat().into(),
            ]);
        }
        self.write_room(caller, &RESTORE, &restore.room, args).await
    }

    /// Lists the members of a room, including those of gone gateways: the caller has shown them before, and their leave is still
    /// to come.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn snapshot(&self, span: &Span, room: &RoomId, known: Option<Position>) -> Result<Read, Fault> {
        let mut args: Vec<Value> = vec![room.as_str().into()];
        match known {
            Some(Position { generation, seq, token }) => args.extend([int(generation), int(seq), int(token)]),
            None => args.extend(["", "", ""].map(Value::from)),
        }
        let base = self.base_of(room);
        let about = rollcall_keyspace::members(base, room);
        let run = Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: 1 };
        let answer: Value = self.run(span, &SNAPSHOT, run).await?;
        if matches!(&answer, Value::Array(parts) if parts.is_empty()) {
            return Ok(Read::Unchanged);
        }
        let (generation, seq, token, records): (u64, u64, u64, Vec<String>) = answer.convert().map_err(|_| broken())?;
        let stored: Vec<_> = stored(records).collect();
        let gone = self.seem_gone(&stored);
        let members = stored.into_iter().map(|one| one.member).collect();
        let at = Position { generation, seq, token };
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
        let about = rollcall_keyspace::room(base, room);
        self.write(
            caller,
            script,
            Run { about: &about, at: room.partition(), bases: vec![base.clone()], args, batch: 1 },
        )
        .await
    }
}
