//! The list of scenarios and what they share. Each one starts its own servers, measures, and hands in its part of the report.

mod auth;
mod channels;
mod closed_loop;
mod everyday;
mod fan_out;
mod growth;
mod idle;
mod idle_memory;
mod join_storm;
mod loud_room;
mod patches;
pub(crate) mod soak;
mod telemetry;

use std::io;
use std::time::Duration;

use crate::actor::Actor;
use crate::actor::member::Member;
use crate::load::Window;
use crate::otlp_sink::Sink;
use crate::report::Report;
use crate::servers::{Servers, Telemetry};

/// All scenarios by name, in the order of the table, each with what it measures.
pub(crate) const ALL: [(&str, &str); 12] = [
    ("closed-loop", "plain heartbeats of 200 clients in a closed loop, against the echo"),
    ("everyday", "4,000 connections with one heartbeat a second each, against the echo"),
    ("patches", "every heartbeat a patch, rooms of two, 200 clients, against the echo"),
    ("idle", "CPU and bytes in Redis of 8,000 members that only answer pings, against the echo (not in --quick)"),
    ("idle-memory", "KiB of an idle joined connection at 8,000 connections, against the echo"),
    ("join-storm", "1,000 joins into one room at once"),
    ("fan-out", "events a second in a room of 100, against a bare broadcast"),
    ("loud-room", "p99 in 20 rooms of two next to a room of 200 where one writes 60 KB as fast as it is answered"),
    ("channels", "updates of metadata and locks of 200 clients, against patches; a lock that 20 want"),
    ("growth", "CPU of a plain heartbeat with few and many rooms, with small and large rooms"),
    ("auth", "what tokens and budgets cost: a connect with a join, and the everyday load"),
    ("telemetry", "what tracing costs: off, as in production, as in development (not in --quick)"),
];

/// A window of a closed loop.
const WINDOW: Window = Window { warm: Duration::from_millis(300), measured: Duration::from_millis(1200) };

/// What all scenarios share.
pub(crate) struct Bench {
    /// One minute in all, with shorter windows, in place of five.
    pub(crate) quick: bool,
    /// Where the services send their traces.
    pub(crate) sink: Sink,
}

impl Bench {
    /// Runs one scenario.
    pub(crate) async fn run(&self, name: &str) -> io::Result<Report> {
        match name {
            "closed-loop" => closed_loop::run(self).await,
            "everyday" => everyday::run(self).await,
            "patches" => patches::run(self).await,
            "idle" => idle::run(self).await,
            "idle-memory" => idle_memory::run(self).await,
            "join-storm" => join_storm::run(self).await,
            "fan-out" => fan_out::run(self).await,
            "loud-room" => loud_room::run(self).await,
            "channels" => channels::run(self).await,
            "growth" => growth::run(self).await,
            "auth" => auth::run(self).await,
            "telemetry" => telemetry::run(self).await,
            other => Err(io::Error::other(format!("there is no scenario {other}"))),
        }
    }

    /// Rollcall's servers, with tracing as in production.
    async fn rollcall(&self) -> io::Result<Servers> {
        Servers::rollcall(Telemetry::Production, self.sink.address).await
    }

    /// How many windows of a closed loop are measured.
    fn turns(&self) -> u32 {
        if self.quick { 2 } else { 6 }
    }

    /// A window of the everyday load, in whole seconds.
    fn everyday_window(&self) -> Window {
        Window { warm: Duration::from_secs(1), measured: Duration::from_secs(if self.quick { 4 } else { 5 }) }
    }

    /// How many windows of the everyday load are measured.
    fn everyday_turns(&self) -> u32 {
        if self.quick { 1 } else { 3 }
    }

    /// How many join storms there are.
    fn storms(&self) -> u32 {
        if self.quick { 1 } else { 3 }
    }

    /// For how many pings of each connection idle ones are measured.
    fn ping_intervals(&self) -> u32 {
        if self.quick { 1 } else { 3 }
    }

    /// How long connections rest before their memory is read.
    fn rest(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { 5 })
    }
}

/// How often members had to be synchronised with a snapshot.
fn syncs(members: &[Actor<Member>]) -> u64 {
    members.iter().map(|actor| actor.role.sequence().syncs()).sum()
}
