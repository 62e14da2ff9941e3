//! Presence, metadata and locks in Redis: one function for each script, with typed results. It knows keys, scripts and
//! records; it decides nothing about clients.

mod args;
mod evict;
mod gone;
mod locks;
mod member;
mod metadata;
mod partition;
mod presence;
mod source;

use std::{
    collections::HashSet,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bus::{Bus, redis, script::Script};
use fred::{
    bytes_utils::Str,
    clients::Client,
    error::ErrorKind,
    interfaces::ClientLike as _,
    types::{FromValue, Value},
    util::redis_keyslot,
};
use parking_lot::Mutex;
use protocol::{Code, Fault, Partition, RoomId};
use service::Spawner;
use telemetry::{LogLimit, propagation::TraceContext};
use tracing::Span;

pub use evict::Eviction;
pub use gone::Clearing;
pub use metadata::Written;
pub use partition::{Audited, Reaped};
pub use presence::{Beat, Joins, Read};
#[doc(hidden)]
pub use source::replace_clock;

/// How errors of Redis begin that pass; `LATE` is what `call.lua` says of a write whose caller has given up.
const PASSING: [&str; 9] =
    ["LATE", "LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MISCONF"];

/// For whom a script runs.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The span that the script's span is a child of.
    pub span: &'a Span,
    /// When the caller gives up, in milliseconds since 1970; a write that comes later is not carried out.
    pub deadline_ms: u64,
}

impl<'a> Caller<'a> {
    /// Who waits as long as it takes.
    pub fn patient(span: &'a Span) -> Self {
        Self { span, deadline_ms: u64::MAX }
    }
}

/// The way to Redis.
pub struct Store {
    bus: Arc<Bus>,
    /// What the keys of each partition begin with. Kept, since a key that is made for each command is allocated for each.
    bases: Box<[Str]>,
    metadata_ttl_ms: u64,
    /// Redis did not answer, and that was logged.
    is_away: AtomicBool,
    full: LogLimit,
    refused: LogLimit,
    /// Rooms that are being cleared of gateways that are gone.
    clearing: Mutex<HashSet<RoomId>>,
    /// For what goes on after its command was answered.
    tasks: Spawner,
}

impl Store {
    /// A store whose metadata lives `metadata_ttl_ms` after its last change and its room's last member. Evictions that a
    /// command leads to are `tasks`.
    pub fn new(bus: Arc<Bus>, metadata_ttl_ms: u64, tasks: Spawner) -> Self {
        let bases = Partition::all().map(|partition| bus.subjects().partition(partition).into()).collect();
        Self {
            bus,
            bases,
            metadata_ttl_ms,
            is_away: AtomicBool::new(false),
            full: LogLimit::default(),
            refused: LogLimit::default(),
            clearing: Mutex::default(),
            tasks,
        }
    }

    fn client(&self) -> &Client {
        self.bus.commands()
    }

    /// What the keys of a partition begin with.
    fn base(&self, partition: Partition) -> &Str {
        &self.bases[partition.index()]
    }

    fn base_of(&self, room: &RoomId) -> &Str {
        self.base(room.partition())
    }

    /// What partitions of one script call must have in common: on a cluster the hash slot, on one server nothing.
    pub fn slot(&self, partition: Partition) -> u16 {
        if self.has_one_slot() { 0 } else { redis_keyslot(self.base(partition).as_bytes()) }
    }

    /// Whether any partitions may share a script call.
    pub fn has_one_slot(&self) -> bool {
        !self.client().is_clustered()
    }

    /// Runs a script that writes; the arguments of `call.lua` come first.
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
        let span = telemetry::span::script(parent, script.name(), about, batch);
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

    /// What a client is told when Redis failed, and what the operator is.
    fn fault(&self, span: &Span, what: &'static str, error: &fred::error::Error) -> Fault {
        let fault = fault_of(error);
        span.in_scope(|| match fault.code {
            // What came too late is no one's fault here.
            _ if error.details().starts_with("LATE") => {}
            Code::Unavailable if self.is_away.swap(true, Ordering::Relaxed) => {}
            Code::Unavailable => {
                tracing::error!(%error, what, "Redis does not answer; clients are told so (logged once until it answers)");
            }
            Code::Overloaded => {
                if let Some(suppressed) = self.full.admit() {
                    tracing::warn!(%error, what, suppressed, "Redis is full; what would store something new is refused");
                }
            }
            _ => {
                if let Some(suppressed) = self.refused.admit() {
                    tracing::error!(%error, what, suppressed, "Redis refused a script");
                }
            }
        });
        fault
    }

    fn worked(&self) {
        if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
    }
}

/// What an error of Redis or of the way there is to a client. Errors that a retry may get over are no faults of ours.
fn fault_of(error: &fred::error::Error) -> Fault {
    let says = |codes: &[&str]| codes.iter().any(|code| error.details().starts_with(code));
    if says(&["OOM"]) {
        return Fault::new(Code::Overloaded, "the store is full: nothing new can be stored right now");
    }
    let is_away = matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled)
        || redis::is_unsent(error)
        || says(&PASSING);
    if is_away { Fault::unavailable() } else { Fault::new(Code::Internal, "presence could not be stored") }
}

/// One run of a script.
struct Run<'a> {
    /// The key that it is about first, for its span.
    about: &'a str,
    /// One of its partitions: all lie on the same server.
    at: Partition,
    /// What the keys of its partitions begin with; they share a hash slot.
    bases: Vec<Str>,
    args: Vec<Value>,
    /// How many things it does at once.
    batch: usize,
}

fn int(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn traceparent(trace: &TraceContext) -> Value {
    trace.traceparent().unwrap_or_default().into()
}

/// The traceparent of a span, '' for none.
fn traceparent_of(span: &Span) -> Value {
    traceparent(&TraceContext::of(span))
}

/// Links the spans of all callers but the first to the span of the first traced one, which is answered: the call belongs to
/// its trace.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_unavailable_what_is_full_is_overloaded_and_the_rest_is_our_fault() {
        let of = |kind, details: &'static str| fault_of(&fred::error::Error::new(kind, details)).code;
        for says in
            ["LATE 17", "LOADING Redis is", "READONLY You", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS"]
        {
            assert_eq!(of(ErrorKind::Unknown, says), Code::Unavailable, "{says}");
        }
        for says in ["BUSY Redis is busy", "MISCONF Redis is", "Too many failed write attempts."] {
            assert_eq!(of(ErrorKind::Unknown, says), Code::Unavailable, "{says}");
        }
        for kind in
            [ErrorKind::IO, ErrorKind::Timeout, ErrorKind::Canceled, ErrorKind::Backpressure, ErrorKind::Cluster]
        {
            assert_eq!(of(kind, ""), Code::Unavailable);
        }
        assert_eq!(of(ErrorKind::Unknown, "OOM allow-oom flag is not set"), Code::Overloaded);
        assert_eq!(of(ErrorKind::Unknown, "WRONGTYPE Operation"), Code::Internal);
    }
}
