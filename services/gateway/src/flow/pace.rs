//! Large work goes at the pace that this process, and what is behind it, can bear. Answers of 255 KB for a thousand sockets, or writes
//! of 60 KB from hundreds, are within the budgets of each of them and take all the CPU there is; everyone's small requests would wait
//! behind them. So large work waits in one line for a bucket of bytes, whose rate grows while small requests are answered in time and
//! halves when they are not: additive increase and multiplicative decrease, as TCP finds its rate. Nothing measures while nothing is
//! large.

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

use crate::count::Count;

/// Smaller work does not wait.
pub(crate) const LARGE: usize = 8 * 1024;
/// The time between two looks.
const TICK: Duration = Duration::from_millis(10);
/// A look that comes later than this makes up for no more.
const LONGEST_TICK: Duration = Duration::from_millis(100);
/// The process is late if a timer ends this long after its time.
const LATE: Duration = Duration::from_millis(20);
/// What is behind it is late if it answers a small request after this time, and twice the shortest one that was seen: Redis may be far
/// away. On a quiet machine 99 of 100 take 18 ms or less.
const SLOW: Duration = Duration::from_millis(30);
/// The rates, in bytes per second. The least keeps large work going on a machine that is late whatever this process does.
const LEAST: u32 = 16_000_000;
const MOST: u32 = 512_000_000;
/// What a tick in time adds: 200 MB a second in a second; a tenth if no small request was answered, which says little.
const STEP: f64 = 2e6;
const BLIND_STEP: f64 = STEP / 10.0;
/// A write of 60 KB takes Redis 1.1 ms, four times what a gateway takes to answer with as much.
const WRITE: usize = 4;
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
}

/// What may go now. Bytes may be owed: one piece of work is never divided.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    bytes: f64,
    used_at: Instant,
}

/// What a tick tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    InTime,
    /// In time, and no small request was answered.
    Blind,
    Late,
}

impl Bucket {
    fn tick(&mut self, time: Duration, look: Look) {
        self.per_s = match look {
            Look::InTime => (self.per_s + STEP).min(MOST.into()),
            Look::Blind => (self.per_s + BLIND_STEP).min(MOST.into()),
            Look::Late => (self.per_s / 2.0).max(LEAST.into()),
        };
        // What was not used is not saved up.
        let full = self.per_s * time.clamp(TICK, LONGEST_TICK).as_secs_f64();
        self.bytes = (self.bytes + self.per_s * time.as_secs_f64()).min(full);
    }

    /// Whether the first in the line may go.
    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        self.used_at = now;
        let may_go = self.bytes > 0.0;
        if may_go {
            self.bytes -= bytes as f64;
        }
        may_go
    }
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
        let bucket = Bucket { per_s: f64::from(MOST) / 4.0, bytes: 1.0, used_at: Instant::now() };
        Self {
            turn: AsyncMutex::default(),
            bucket: Mutex::new(bucket),
            ticked: Notify::new(),
            wanted: Notify::new(),
            slowest_ns: AtomicU64::new(0),
            quickest_ns: AtomicU64::new(u64::MAX),
            waiting: Count::default(),
            in_line: AtomicUsize::new(0),
        }
    }

    /// Looks whether small requests are in time, forever, while there is large work.
    pub(super) async fn look(&self) {
        loop {
            self.wanted.notified().await;
            self.slowest_ns.store(0, Ordering::Relaxed);
            self.quickest_ns.store(u64::MAX, Ordering::Relaxed);
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
        metrics::refused(Refusal::LargeRequests);
        Err(Fault::new(Code::Overloaded, "too many large requests are under way; try again later"))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn bucket(per_s: u32) -> Bucket {
        Bucket { per_s: per_s.into(), bytes: 1.0, used_at: Instant::now() }
    }

    #[test]
    fn the_rate_grows_while_small_requests_are_in_time_and_halves_when_they_are_not() {
        let mut bucket = bucket(LEAST);
        (0..240).for_each(|_| bucket.tick(TICK, Look::InTime));
        assert!(bucket.per_s > 0.9 * f64::from(MOST), "{bucket:?}");
        (0..250).for_each(|_| bucket.tick(TICK, Look::InTime));
        assert_eq!(bucket.per_s, f64::from(MOST));
        bucket.tick(TICK, Look::Late);
        assert_eq!(bucket.per_s, f64::from(MOST) / 2.0);
        bucket.tick(TICK, Look::Blind);
        assert_eq!(bucket.per_s, f64::from(MOST) / 2.0 + BLIND_STEP);
        (0..100).for_each(|_| bucket.tick(TICK, Look::Late));
        assert_eq!(bucket.per_s, f64::from(LEAST));
    }

    #[test]
    fn what_is_larger_than_a_tick_goes_and_what_follows_waits_for_its_bytes() {
        let (mut bucket, now) = (bucket(LEAST), Instant::now());
        assert!(bucket.take(1_000_000, now) && !bucket.take(1, now));
        (0..6).for_each(|_| bucket.tick(TICK, Look::Late));
        assert!(!bucket.take(1, now), "0.96 of 1 MB are paid");
        bucket.tick(TICK, Look::Late);
        assert!(bucket.take(1, now));
        bucket.tick(Duration::from_secs(60), Look::Late);
        assert!(bucket.bytes <= f64::from(LEAST) * LONGEST_TICK.as_secs_f64(), "a pause saves up little");
    }

    #[test]
    fn a_request_is_late_by_what_it_takes_at_least() {
        let pace = Pace::new();
        assert_eq!((pace.saw(TICK), pace.saw(TICK + LATE)), (Look::Blind, Look::Late));
        pace.answered(Duration::from_millis(50));
        assert_eq!(pace.saw(TICK), Look::InTime, "Redis may be 50 ms away");
        pace.answered(Duration::from_millis(1));
        assert_eq!(pace.saw(TICK), Look::InTime);
        pace.answered(Duration::from_millis(33));
        assert_eq!(pace.saw(TICK), Look::Late);
    }

    fn looked_at() -> (Arc<Pace>, tokio::task::JoinHandle<()>) {
        let pace = Arc::new(Pace::new());
        let looks = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.look().await }
        });
        (pace, looks)
    }

    /// Whether an answer of `bytes` may be made at once.
    async fn goes(pace: &Pace, bytes: usize) -> bool {
        timeout(Duration::ZERO, pace.wait_to_answer(bytes)).await.is_ok_and(|result| result.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn large_work_waits_while_small_requests_are_late_and_small_work_never_does() {
        let (pace, looks) = looked_at();
        assert!(goes(&pace, 10 << 20).await, "the first one");
        assert!(!goes(&pace, LARGE).await && goes(&pace, LARGE - 1).await);
        // Small requests are late all the time, so 16 MB a second are left.
        let late = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move {
                loop {
                    pace.answered(Duration::from_millis(1));
                    pace.answered(2 * SLOW);
                    sleep(TICK / 2).await;
                }
            }
        });
        sleep(LINGER).await;
        pace.wait_to_write(6_000_000).await.unwrap();
        let waits = [(); 2].map(|()| {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move { pace.wait_to_answer(16_000_000).await })
        });
        let asked = Instant::now();
        tokio::task::yield_now().await;
        assert!(pace.wait_to_answer(LARGE).await.is_err() && asked.elapsed() < TICK, "the line is full");
        let [first, second] = waits;
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(first.is_ok() != second.is_ok(), "one goes after 1.5 s, the other would after 2.5 s");
        assert!((WITHIN..WITHIN + TICK).contains(&asked.elapsed()));
        assert_eq!((pace.waiting(), pace.in_line.load(Ordering::Relaxed)), (0, 0));
        late.abort();
        sleep(WITHIN).await;
        let calm = Instant::now();
        pace.wait_to_answer(LARGE).await.unwrap();
        assert!(calm.elapsed() < 2 * TICK, "no one waits on a calm machine");
        looks.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_without_waiting_is_waited_for() {
        let (pace, looks) = looked_at();
        pace.charge(LARGE - 1);
        assert!(goes(&pace, LARGE).await);
        pace.charge(64 << 20);
        let asked = Instant::now();
        pace.wait_to_answer(LARGE).await.unwrap();
        assert!(asked.elapsed() > 10 * TICK);
        looks.abort();
    }
}
