//! Presence, metadata and locks in Redis: one function per script, with typed results. This module knows keys, scripts and
//! records; it decides nothing about clients.

mod args;
mod content;
mod evict;
mod fault;
mod fullness;
mod gone;
mod heartbeat;
mod locks;
mod member;
mod memory;
mod metadata;
mod partition;
mod presence;
mod source;

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, atomic::AtomicBool},
};

use fred::{
    bytes_utils::Str,
    clients::Client,
    interfaces::ClientLike as _,
    types::{FromValue, Value},
    util::redis_keyslot,
};
use parking_lot::Mutex;
use rollcall_bus::{Bus, redis, script::Script};
use rollcall_protocol::{Code, Fault, Partition, RoomId};
use rollcall_service::Spawner;
use rollcall_telemetry::{LogLimit, propagation::TraceContext};
use tracing::Span;

pub use evict::Eviction;
pub(crate) use fault::is_of_memory;
pub use gone::Clearing;
pub use heartbeat::Beat;
pub use metadata::Written;
pub use partition::{Audited, Reaped};
pub use presence::{Joins, Read};
#[doc(hidden)]
pub use source::replace_clock;

use self::fullness::Fullness;

/// On whose behalf a script runs.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The span that the script's span is a child of.
    pub span: &'a Span,
    /// When the caller gives up, in milliseconds since 1970. A later write is not carried out.
    pub deadline_ms: u64,
}

impl<'a> Caller<'a> {
    /// A caller that waits without limit.
    pub fn patient(span: &'a Span) -> Self {
        Self { span, deadline_ms: u64::MAX }
    }
}

/// The data in Redis.
pub struct Store {
    bus: Arc<Bus>,
    /// The key prefix of each partition. Kept, because building it for every command would allocate every time.
    bases: Box<[Str]>,
    metadata_ttl_ms: u64,
    /// Redis does not answer, and that was logged.
    is_away: AtomicBool,
    fullness: Fullness,
    rejected: LogLimit,
    moving: LogLimit,
    unavailable: LogLimit,
    /// Rooms that are being cleared of members of gone gateways.
    clearing: Mutex<HashSet<RoomId>>,
    /// Runs work that goes on after its command was answered.
    tasks: Spawner,
}

impl Store {
    /// A store that keeps metadata for `metadata_ttl_ms` after its last change and after the room's last member left. Evictions
    /// that follow a command run as `tasks`.
    pub fn new(bus: Arc<Bus>, metadata_ttl_ms: u64, tasks: Spawner) -> Self {
        let bases = Partition::all().map(|partition| bus.subjects().partition(partition).into()).collect();
        Self {
            bus,
            bases,
            metadata_ttl_ms,
            is_away: AtomicBool::new(false),
            fullness: Fullness::default(),
            rejected: LogLimit::default(),
            moving: LogLimit::default(),
            unavailable: LogLimit::default(),
            clearing: Mutex::default(),
            tasks,
        }
    }

    fn client(&self) -> &Client {
        self.bus.commands()
    }

    /// The key prefix of a partition.
    fn base(&self, partition: Partition) -> &Str {
        &self.bases[partition.index()]
    }

    fn base_of(&self, room: &RoomId) -> &Str {
        self.base(room.partition())
    }

    /// What the partitions of one script call must have in common: the hash slot on a cluster, nothing on a single server.
    pub fn slot(&self, partition: Partition) -> u16 {
        if self.has_one_slot() { 0 } else { redis_keyslot(self.base(partition).as_bytes()) }
    }

    /// Whether any partitions may share a script call.
    pub fn has_one_slot(&self) -> bool {
        !self.client().is_clustered()
    }

    /// Runs a script that writes. The arguments of `call.lua` come first.
    async fn write<R: FromValue>(
        &self,
        caller: Caller<'_>,
        script: &'static LazyLock<Script>,
        run: Run<'_>,
    ) -> Result<R, Fault> {
        let not_after =
            if caller.deadline_ms == u64::MAX { 0 } else { self.bus.redis_time_ms(run.at, caller.deadline_ms).max(1) };
        let mut args = Vec::with_capacity(2 + run.args.len());
        args.extend([int(not_after), int(self.metadata_ttl_ms)]);
        args.extend(run.args);
        self.run(caller.span, script, Run { args, ..run }).await
    }

    /// Runs a script.
    async fn run<R: FromValue>(
        &self,
        parent: &Span,
        script: &'static LazyLock<Script>,
        Run { about, bases, args, batch, .. }: Run<'_>,
    ) -> Result<R, Fault> {
        if !self.client().is_connected() {
            return Err(Fault::unavailable());
        }
        let span = rollcall_telemetry::span::script(parent, script.name(), about, batch);
        let answer = script.run(self.client(), bases, args);
        let result = redis::observed(span, "evalsha", script.name(), answer).await;
        match result {
            Ok(answer) => {
                self.worked();
                Ok(answer)
            }
            Err(error) => Err(self.fault(parent, script.name(), &error)),
        }
    }
}

/// One run of a script.
struct Run<'a> {
    /// The first key that it reads or writes, for its span.
    about: &'a str,
    /// One of its partitions; all are on the same server.
    at: Partition,
    /// The key prefixes of its partitions, which share a hash slot.
    bases: Vec<Str>,
    args: Vec<Value>,
    /// How many commands it carries out.
    batch: usize,
}

fn int(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn traceparent(trace: &TraceContext) -> Value {
    trace.traceparent().unwrap_or_default().into()
}

/// The traceparent of a span; empty if it is not traced.
fn traceparent_of(span: &Span) -> Value {
    traceparent(&TraceContext::of(span))
}

/// Returns the first traced span, to whose trace the call belongs, and links the other callers' spans to it.
fn shared_span<'a>(spans: impl Iterator<Item = &'a Span>) -> Span {
    let mut traced = spans.filter(|span| !span.is_disabled());
    let Some(first) = traced.next() else { return Span::none() };
    let call = TraceContext::of(first);
    traced.for_each(|span| call.link(span));
    first.clone()
}

fn broken() -> Fault {
    Fault::new(Code::Internal, "a stored record cannot be read")
}
