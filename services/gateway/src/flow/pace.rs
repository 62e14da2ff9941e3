//! Large work goes at the pace that this process, and what is behind it, can bear. Answers of 255 KB for a thousand sockets, or writes
//! of 60 KB from hundreds, are within the budgets of each of them and take all the CPU there is; everyone's small requests would wait
//! behind them. So large work waits in one line for a bucket of bytes, whose rate grows while small requests are answered in time and
//! halves when they are not: additive increase and multiplicative decrease, as TCP finds its rate. What large events take to be
//! delivered is taken from the same bucket. Nothing measures while nothing is large.

mod bucket;
#[cfg(test)]
mod tests;

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use rollcall_protocol::{Code, Fault};
use rollcall_telemetry::metrics::{self, Refusal};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::{Instant, sleep, timeout},
};

use self::bucket::{Bucket, Look, TICK};
use super::window::{UnderWay, Window};
use crate::count::Count;

/// Smaller work does not wait.
pub(crate) const LARGE: usize = 8 * 1024;
/// The process is late if a timer ends this long after its time.
const LATE: Duration = Duration::from_millis(20);
/// What is behind it is late if it answers a small request after this time, and twice the shortest one that was seen: Redis may be far
/// away. On a quiet machine 99 of 100 take 18 ms or less.
const SLOW: Duration = Duration::from_millis(30);
/// A write of 60 KB takes Redis 1.1 ms, four times what a gateway takes to answer with as much.
const WRITE: usize = 4;
/// The bytes of large writes that are under way: four of 60 KB, which a quiet Redis answers in 5 ms. That is 800 of them a second, about
/// what it can carry out. The rate alone follows what Redis can bear only after small requests were late.
const MOST_WRITTEN: usize = 256 * 1024;
/// A byte of an event that is sent to a member takes a quarter of what a byte of an answer takes: it is encoded once for all.
const DELIVERY: usize = 4;
/// Nothing waits in the line for longer.
const WITHIN: Duration = Duration::from_secs(2);
/// The most bytes in the line, which are what goes at the least rate in that time: more would wait in vain, and keep its memory.
const MOST_IN_LINE: usize = 32_000_000;
/// Looks go on for so long after the last large work.
const LINGER: Duration = Duration::from_secs(1);

/// The line of large work.
pub(crate) struct Pace {
    /// Held by the first in the line.
    turn: AsyncMutex<()>,
    bucket: Mutex<Bucket>,
    /// Notified by each tick, and to start looking.
    ticked: Notify,
    wanted: Notify,
    /// The longest that a small request took since the last tick, and the shortest since looks began, in nanoseconds.
    slowest_ns: AtomicU64,
    quickest_ns: AtomicU64,
    waiting: Count,
    in_line: AtomicUsize,
    /// The same of writes that had their turn.
    writes_wait: AtomicUsize,
    writes: Window,
}

/// Bytes in the line, until it is dropped.
struct InLine<'a>(&'a AtomicUsize, usize);

impl<'a> InLine<'a> {
    /// `None` if there is no room for them. One piece of work always has room.
    fn enter(all: &'a AtomicUsize, bytes: usize) -> Option<Self> {
        let more = |before: usize| (before == 0 || before + bytes <= MOST_IN_LINE).then_some(before + bytes);
        all.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(all, bytes))
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

impl Pace {
    pub(super) fn new() -> Self {
        let bucket = Bucket::new(Instant::now());
        Self {
            turn: AsyncMutex::default(),
            bucket: Mutex::new(bucket),
            ticked: Notify::new(),
            wanted: Notify::new(),
            slowest_ns: AtomicU64::new(0),
            quickest_ns: AtomicU64::new(u64::MAX),
            waiting: Count::default(),
            in_line: AtomicUsize::new(0),
            writes_wait: AtomicUsize::new(0),
            writes: Window::new(MOST_WRITTEN),
        }
    }

    /// Looks whether small requests are in time, forever, while there is large work.
    pub(super) async fn look(&self) {
        loop {
            self.wanted.notified().await;
            self.slowest_ns.store(0, Ordering::Relaxed);
            self.quickest_ns.store(u64::MAX, Ordering::Relaxed);
            self.bucket.lock().begin();
            let mut last = Instant::now();
            while last.duration_since(self.bucket.lock().used_at) < LINGER {
                sleep(TICK).await;
                let time = last.elapsed();
                let look = self.saw(time);
                self.bucket.lock().tick(time, look);
                self.ticked.notify_waiters();
                last += time;
            }
        }
    }

    fn saw(&self, time: Duration) -> Look {
        let slowest = self.slowest_ns.swap(0, Ordering::Relaxed);
        let quickest = self.quickest_ns.load(Ordering::Relaxed);
        let slow = SLOW.as_nanos() as u64;
        if time >= TICK + LATE || slowest > slow.saturating_add(quickest.saturating_mul(2)) {
            Look::Late
        } else if slowest == 0 {
            Look::Blind
        } else {
            Look::InTime
        }
    }

    /// How much work waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// A small request was answered in this time.
    pub(crate) fn answered(&self, time: Duration) {
        let ns = time.as_nanos() as u64;
        self.slowest_ns.fetch_max(ns, Ordering::Relaxed);
        self.quickest_ns.fetch_min(ns, Ordering::Relaxed);
    }

    /// Waits until so many bytes may be written.
    ///
    /// # Errors
    /// `OVERLOADED` after 2 s, or at once if too many wait.
    pub(crate) async fn wait_to_write(&self, bytes: usize) -> Result<(), Fault> {
        if bytes < LARGE { Ok(()) } else { self.wait(bytes * WRITE).await }
    }

    /// Waits until an answer of so many bytes may be made.
    ///
    /// # Errors
    /// As [`wait_to_write`](Self::wait_to_write).
    pub(crate) async fn wait_to_answer(&self, bytes: usize) -> Result<(), Fault> {
        if bytes < LARGE { Ok(()) } else { self.wait(bytes).await }
    }

    /// An answer of so many bytes is made without waiting, as what it answers was carried out: what comes next waits for it.
    pub(crate) fn charge(&self, bytes: usize) {
        if bytes >= LARGE {
            let mut bucket = self.bucket.lock();
            (bucket.bytes, bucket.used_at) = (bucket.bytes - bytes as f64, Instant::now());
            drop(bucket);
            self.wanted.notify_one();
        }
    }

    /// So many bytes that were waited for are not made after all.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.bucket.lock().bytes += bytes as f64;
    }

    /// An event of so many bytes was sent to so many members: large work here waits for it a little, as it may be what writes such
    /// events. They may also be written at another gateway.
    pub(crate) fn delivered(&self, bytes: usize, members: usize) {
        if bytes >= LARGE && members > 0 {
            self.bucket.lock().take_for_events(bytes.saturating_mul(members) / DELIVERY, Instant::now());
            self.wanted.notify_one();
        }
    }

    /// Waits until a write of so many bytes, which had its turn, may be under way.
    ///
    /// # Errors
    /// As [`wait_to_write`](Self::wait_to_write).
    pub(crate) async fn begin_write(&self, bytes: usize) -> Result<UnderWay, Fault> {
        if bytes < LARGE {
            return Ok(UnderWay::uncounted());
        }
        if let Some(write) = self.writes.try_begin(bytes) {
            return Ok(write);
        }
        let _counted = self.waiting.one_more();
        if let Some(_waits) = InLine::enter(&self.writes_wait, bytes * WRITE)
            && let Ok(write) = timeout(WITHIN, self.writes.begin(bytes)).await
        {
            return Ok(write);
        }
        Err(refused())
    }

    async fn wait(&self, bytes: usize) -> Result<(), Fault> {
        let may_go = self.turn.try_lock().is_ok_and(|_turn| self.bucket.lock().take(bytes, Instant::now()));
        self.wanted.notify_one();
        if may_go {
            return Ok(());
        }
        if let Some(_in_line) = InLine::enter(&self.in_line, bytes)
            && timeout(WITHIN, self.turn(bytes)).await.is_ok()
        {
            return Ok(());
        }
        Err(refused())
    }

    /// Waits for the turn of so many bytes, however long that takes.
    pub(crate) async fn turn(&self, bytes: usize) {
        let _counted = self.waiting.one_more();
        let _turn = self.turn.lock().await;
        loop {
            let ticked = self.ticked.notified();
            let may_go = self.bucket.lock().take(bytes, Instant::now());
            self.wanted.notify_one();
            if may_go {
                return;
            }
            ticked.await;
        }
    }
}

fn refused() -> Fault {
    metrics::refused(Refusal::LargeRequests);
    Fault::new(Code::Overloaded, "too many large requests are under way; try again later")
}
