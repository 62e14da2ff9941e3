//! Heartbeats in Redis.

use std::sync::LazyLock;

use fred::bytes_utils::Str;
use rollcall_bus::script::Script;
use rollcall_protocol::{Fault, Info, RoomId, command::Heartbeat, limits::MAX_ROOM_BYTES};
use rollcall_telemetry::propagation::TraceContext;
use serde_json::value::RawValue;
use tracing::Span;

use super::{Caller, Run, Store, args::Args, broken, content, int, shared_span, source::script};

static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| script("presence_heartbeat"));

/// The result of a heartbeat.
#[derive(Debug)]
pub enum Beat {
    /// The connection has no record.
    Missing,
    /// The stored epoch is higher.
    Stale {
        /// The stored epoch.
        epoch: u64,
    },
    /// A later operation of the connection was carried out before.
    Overtaken,
    /// The states of the room would exceed their limit.
    Full,
    /// The patch is based on an older state than the stored one.
    Conflict {
        /// The stored epoch.
        epoch: u64,
        /// The operation of the stored state.
        op: u64,
        /// The stored info.
        info: Option<Info>,
        /// The stored state.
        state: Box<RawValue>,
    },
    /// Carried out.
    Taken {
        /// The epoch in force.
        epoch: u64,
        /// The operation of the record.
        op: u64,
        /// Whether the state changed.
        changed: bool,
    },
}

impl Store {
    /// Changes the states or epochs of connections, in order, in any rooms of one [slot](Store::slot). The call belongs to the
    /// trace of the first traced heartbeat; the others are linked to it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `OVERLOADED`, `INTERNAL`, each for all heartbeats.
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
            match &beat.state {
                Some(state) => args.joined(&content::parts(beat.info.as_ref(), state)),
                None => args.text(""),
            }
            args.text(&TraceContext::of(span).traceparent().unwrap_or_default());
        }
        let span = shared_span(beats.iter().map(|(_, span)| *span));
        let about = beats.first().zip(bases.first()).map_or_else(String::new, |((beat, _), base)| {
            if span.is_disabled() { String::new() } else { rollcall_keyspace::room(base, &beat.room) }
        });
        let at = beats.first().map_or_else(|| RoomId::from("").partition(), |(beat, _)| beat.room.partition());
        let run = Run { about: &about, at, bases, args: args.into_values(), batch: beats.len() };
        let answers: Vec<Str> = self.write(Caller { span: &span, deadline_ms }, &HEARTBEAT, run).await?;
        if answers.len() != beats.len() {
            return Err(broken());
        }
        answers.iter().map(|answer| Beat::read(answer).ok_or_else(broken)).collect()
    }
}

impl Beat {
    /// Parses the line that the script answers.
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
                let (info, state) = content::read(parts.next()?)?;
                Beat::Conflict { epoch, op, info, state }
            }
            _ => return None,
        })
    }
}
