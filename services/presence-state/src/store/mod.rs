//! Presence in Redis: one function for each script, with typed results, and the bookkeeping across hash slots. It knows
//! keys, scripts and records; it knows nothing of the bus' messages and decides nothing about clients.

mod freshness;
mod index;
mod locks;
mod metadata;
mod record;
mod scripts;
mod touch;

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bus::{Bus, redis, script::Script};
use fred::{
    clients::Client,
    error::ErrorKind,
    interfaces::ClientLike as _,
    types::{FromValue, Value},
    util::redis_keyslot,
};
use keyspace::RoomKeys;
use protocol::{Code, Fault, RoomId};
use telemetry::propagation::TraceContext;
use tracing::Span;

pub use metadata::Written;
pub use scripts::{Beat, Evicted, Eviction};

/// A script from the files that stand one behind the other in it; the last one is its own.
macro_rules! script {
    (@name $name:literal) => { $name };
    (@name $first:literal, $($rest:literal),+) => { script!(@name $($rest),+) };
    ($($part:literal),+) => {
        LazyLock::new(|| {
            Script::new(script!(@name $($part),+), concat!($(include_str!(concat!("../scripts/", $part, ".lua"))),+))
        })
    };
}
use script;

/// What fred says of a command that it could not write, while a cluster changes.
const UNSENT: &str = "Too many failed write attempts.";

/// Room keys live this many TTLs without a touch, so that nothing is left behind even if every reaper is dead.
const EXPIRY_TTLS: u64 = 4;

/// After Redis was away everybody seems silent; within this time gateways have said who is not.
const TRUCE: Duration = Duration::from_secs(5);

/// The way to Redis.
pub struct Store {
    bus: Arc<Bus>,
    ttl_ms: u64,
    metadata_ttl_ms: u64,
    freshness: freshness::Freshness,
    told: AtomicBool,
}

impl Store {
    /// A store whose connections live `ttl_ms` without being heard of, and whose metadata lives `metadata_ttl_ms` without
    /// being changed and without members beside it.
    pub fn new(bus: Arc<Bus>, ttl_ms: u64, metadata_ttl_ms: u64) -> Self {
        let freshness = freshness::Freshness::new(ttl_ms);
        Self { bus, ttl_ms, metadata_ttl_ms, freshness, told: AtomicBool::new(false) }
    }

    fn client(&self) -> &Client {
        self.bus.commands()
    }

    fn expiry_ms(&self) -> u64 {
        self.ttl_ms * EXPIRY_TTLS
    }

    /// Runs a script, whose keys share a hash slot, within a span that is a child of `parent`.
    async fn script<R: FromValue>(
        &self,
        parent: &Span,
        script: &'static LazyLock<Script>,
        keys: Vec<String>,
        args: Vec<Value>,
        batch: usize,
    ) -> Result<R, Fault> {
        if !self.client().is_connected() {
            return Err(unavailable());
        }
        let first = keys.first().map_or("", String::as_str);
        let span = telemetry::span::script(parent, script.name(), first, batch);
        let answer = script.run(self.client(), keys, args);
        let result = redis::observed(span, "evalsha", script.name(), answer).await;
        result.map_err(|error| self.fault(parent, script.name(), &error))
    }

    /// What rooms of one script call must have in common: on a cluster the hash slot, on one server nothing.
    pub fn place(&self, room: &RoomId) -> u16 {
        if self.client().is_clustered() { redis_keyslot(RoomKeys::of(room).conns.as_bytes()) } else { 0 }
    }

    /// What a client is told when Redis failed, and what the operator is.
    fn fault(&self, span: &Span, what: &'static str, error: &fred::error::Error) -> Fault {
        let away = matches!(
            error.kind(),
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Backpressure | ErrorKind::Cluster
        ) || error.details() == UNSENT
            || ["LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "OOM", "MISCONF"]
                .iter()
                .any(|code| error.details().starts_with(code));
        if !self.told.swap(true, Ordering::Relaxed) {
            let tell = || tracing::error!(%error, what, "Redis did not do it; the client was told (said once until it works again)");
            span.in_scope(tell);
        }
        if away { unavailable() } else { Fault::new(Code::Internal, "presence could not be stored") }
    }

    fn worked(&self) {
        if self.told.load(Ordering::Relaxed) && self.told.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis does its work again");
        }
    }
}

/// The keys of `room.lua`, for each room.
fn keys(rooms: &[&RoomId]) -> Vec<String> {
    let all = |room: &&RoomId| {
        let mut keys = RoomKeys::of(room).into_vec();
        keys.push(bus::subjects::room_events(room));
        keys
    };
    rooms.iter().flat_map(all).collect()
}

/// The keys of `room.lua` and `locks.lua`, for one room.
fn keys_with_locks(room: &RoomId) -> Vec<String> {
    let mut keys = keys(&[room]);
    keys.extend([keyspace::revisions(room), keyspace::locks(room), keyspace::waiters(room)]);
    keys
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

fn unavailable() -> Fault {
    Fault::new(Code::Unavailable, "presence is not available right now; try again")
}
