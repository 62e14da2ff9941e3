//! What flows between one Engine.IO session and the gateway: how much it may send, when it is not read from, and how many bytes
//! wait for it. A session has one [`Flow`] from its handshake to its end, whatever its transport, and however often it leaves the
//! namespace and enters it again.
//!
//! - `rate`: token buckets. `keyed`: one for each of many names. `memory`: the memory limit of the process.
//! - `budgets`: the settings. `outward`: the bytes that wait for one session. `backlog`: those of all sessions, and who is closed if
//!   they are too many. `large`: room for answers that are large. `pace`: how much large work is done at a time.
//!   `window`: how much is under way in Redis.
//! - Here: [`Flow`], and when its session is read from.

pub(crate) mod backlog;
pub(crate) mod budgets;
pub(crate) mod keyed;
pub(crate) mod large;
pub(crate) mod memory;
pub(crate) mod outward;
pub(crate) mod pace;
pub(crate) mod rate;
#[cfg(test)]
mod tests;
pub(crate) mod window;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rollcall_telemetry::metrics::Refusal;
use tokio::{select, time::sleep};

use self::{
    backlog::Backlog,
    outward::Outward,
    rate::{Bucket, Quota, now_ns},
};

/// Reading pauses for this long after an event was refused, or until the refused event would be accepted if that is later. What
/// was read already is refused too: 17 heartbeats fit into the read buffer of 512 bytes.
const PAUSE: Duration = Duration::from_secs(1);
/// Reading pauses for at most this long at a time: while it pauses, no pong is read.
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// Reading pauses for at most this long because of a session's queue: while it pauses, no pong is read.
const QUEUE_PAUSE: Duration = Duration::from_secs(2);
/// One join a second is accepted beyond the rate: a client that sends what it buffered while offline joins last.
const JOINS: Quota = Quota::new(1, 1);
/// What a client sends that is not an event: WebSocket pings, Engine.IO pongs, entering and leaving the namespace. An honest one sends
/// a few when it connects, and a pong every 25 s.
const OTHERS: Quota = Quota::new(10, 4);

/// What the client of one socket may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) events: Quota,
    pub(crate) bytes: Quota,
}

/// An event over a limit of its socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) refusal: Refusal,
    pub(crate) retry_after: Duration,
}

/// The flow of one Engine.IO session.
pub(crate) struct Flow {
    backlog: Arc<Backlog>,
    outward: Outward,
    events: Bucket,
    bytes: Bucket,
    joins: Bucket,
    others: Bucket,
    /// Until when it is not read from because it sent too much; in the process' nanoseconds.
    pause_ends_ns: AtomicU64,
    /// The same, because the queue of its session is nearly full, and because a large request of it waits.
    queue_pause_ends_ns: AtomicU64,
    line_pause_ends_ns: AtomicU64,
    /// Its transport was closed.
    has_ended: AtomicBool,
}

impl Flow {
    pub(crate) fn new(backlog: &Arc<Backlog>) -> Arc<Self> {
        Arc::new(Self {
            backlog: Arc::clone(backlog),
            outward: Outward::default(),
            events: Bucket::default(),
            bytes: Bucket::default(),
            joins: Bucket::default(),
            others: Bucket::default(),
            pause_ends_ns: AtomicU64::new(0),
            queue_pause_ends_ns: AtomicU64::new(0),
            line_pause_ends_ns: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        })
    }

    /// The bytes that wait for all sessions.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Counts an event of so many bytes. If it is over a limit, reading pauses; the other limit may have counted it.
    pub(crate) fn admit(&self, limits: &Limits, bytes: usize, is_join: bool) -> Result<(), Excess> {
        let refused = match (self.events.take(limits.events, 1), self.bytes.take(limits.bytes, bytes)) {
            (Ok(()), Ok(())) => return Ok(()),
            (Err(wait), _) => (Refusal::SocketEvents, wait),
            (_, Err(wait)) => (Refusal::SocketBytes, wait),
        };
        let (refusal, wait) = refused;
        let retry_after = wait.max(PAUSE);
        self.pause(retry_after.min(MOST_PAUSE));
        if is_join && self.joins.take(JOINS, 1).is_ok() { Ok(()) } else { Err(Excess { refusal, retry_after }) }
    }

    /// Counts what is not an event. If it is too much, reading pauses until it is not. Returns for how long.
    pub(crate) fn charge(&self, units: usize) -> Duration {
        let owed = self.others.charge(OTHERS, units);
        if !owed.is_zero() {
            self.pause(owed);
        }
        owed
    }

    /// Whether it sent more than it may that is not an event.
    pub(crate) fn owes(&self) -> bool {
        !self.others.charge(OTHERS, 0).is_zero()
    }

    fn pause(&self, time: Duration) {
        let ends = now_ns().saturating_add(time.as_nanos() as u64);
        self.pause_ends_ns.fetch_max(ends, Ordering::AcqRel);
    }

    /// The queue of its session is nearly full: reading pauses until [`queue_has_room`](Self::queue_has_room).
    pub(crate) fn queue_is_full(&self) {
        self.queue_pause_ends_ns.store(now_ns() + QUEUE_PAUSE.as_nanos() as u64, Ordering::Release);
    }

    /// The queue of its session has room again.
    pub(crate) fn queue_has_room(&self) {
        if self.queue_pause_ends_ns.swap(0, Ordering::AcqRel) != 0 {
            self.outward.changed();
        }
    }

    /// A large request of it waits: reading pauses until this is dropped, or for as long as a queue may pause it.
    pub(crate) fn pause_in_line(&self) -> impl Drop + Send + '_ {
        self.line_pause_ends_ns.store(now_ns() + QUEUE_PAUSE.as_nanos() as u64, Ordering::Release);
        LinePause(self)
    }

    /// Has those that wait for a change of it look again.
    pub(crate) fn wake(&self) {
        self.outward.changed();
    }

    /// Its transport was closed: nothing waits any more.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.outward.changed();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Whether the session is read from now.
    pub(crate) fn is_readable(&self) -> bool {
        self.has_ended() || (self.pause_left().is_none() && !self.is_blocked())
    }

    /// Resolves when the session is read from.
    pub(crate) async fn readable(self: Arc<Self>) {
        loop {
            let changed = self.outward.change();
            if self.is_readable() {
                return;
            }
            match self.pause_left() {
                Some(left) => select! { () = sleep(left) => {}, () = changed => {} },
                None => changed.await,
            }
        }
    }

    fn pause_left(&self) -> Option<Duration> {
        let ends = [&self.pause_ends_ns, &self.queue_pause_ends_ns, &self.line_pause_ends_ns];
        let ends = ends.map(|ends| ends.load(Ordering::Acquire));
        let left = ends.into_iter().max().unwrap_or_default();
        // Without a look at the clock where nothing pauses.
        (left > 0).then(|| left.saturating_sub(now_ns())).filter(|left| *left > 0).map(Duration::from_nanos)
    }
}

/// The pause of reading while a large request waits.
struct LinePause<'a>(&'a Flow);

impl Drop for LinePause<'_> {
    fn drop(&mut self) {
        self.0.line_pause_ends_ns.store(0, Ordering::Release);
        self.0.wake();
    }
}
