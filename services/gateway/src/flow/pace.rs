//! Large work goes at the pace that this process, and what is behind it, can bear. Answers of 255 KB for a thousand sockets, or writes
//! of 60 KB from hundreds, are within the budgets of each of them and take all the CPU there is; everyone's small requests would wait
//! behind them. So large work waits in one line for a bucket of bytes, whose rate grows while small requests are answered in time and
//! halves when they are not: additive increase and multiplicative decrease, as TCP finds its rate. Nothing measures while nothing is
//! large.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use rollcall_protocol::{Code, Fault};
use rollcall_telemetry::metrics::{self, Refusal};
use tokio::{
    sync::{Mutex as Turn, Notify},
    time::{Instant, sleep, timeout},
};

use super::Flow;
use crate::count::Count;

/// Smaller work does not wait.
const LARGE: usize = 8 * 1024;
/// The time between two looks.
const TICK: Duration = Duration::from_millis(10);
/// The process is late if a timer ends this long after its time.
const LATE: Duration = Duration::from_millis(20);
/// What is behind it is late if it answers a small request after this time. On a quiet machine 99 of 100 take 18 ms or less.
const SLOW: Duration = Duration::from_millis(30);
/// The rates, in bytes per second. The least keeps large work going on a machine that is late whatever this process does.
const LEAST: u32 = 16_000_000;
const MOST: u32 = 512_000_000;
/// What a tick in time adds: 200 MB a second in a second.
const STEP: f64 = 2e6;
/// A write of 60 KB takes Redis 1.1 ms, four times what a gateway takes to answer with as much.
const WRITE: usize = 4;
/// Nothing waits in the line for longer.
const WITHIN: Duration = Duration::from_secs(5);
/// A pause of reading ends after 2 s by itself.
const PAUSE_AGAIN: Duration = Duration::from_secs(1);
/// Looks go on for so long after the last large work.
const LINGER: Duration = Duration::from_secs(1);

/// The line of large work.
pub(crate) struct Pace {
    /// Held by the first in the line.
    turn: Turn<()>,
    bucket: Mutex<Bucket>,
    /// Notified by each tick, and to start looking.
    ticked: Notify,
    wanted: Notify,
    /// The longest that a small request took since the last tick, in nanoseconds.
    slowest_ns: AtomicU64,
    waiting: Count,
}

/// What may go now. Bytes may be owed: one piece of work is never divided.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    bytes: f64,
    used_at: Instant,
}

impl Bucket {
    /// Some time went by, in which small requests were in time or not.
    fn tick(&mut self, time: Duration, in_time: bool) {
        self.per_s = if in_time { (self.per_s + STEP).min(MOST.into()) } else { (self.per_s / 2.0).max(LEAST.into()) };
        self.bytes = (self.bytes + self.per_s * time.as_secs_f64()).min(self.per_s * TICK.as_secs_f64());
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

impl Pace {
    pub(super) fn new() -> Self {
        let bucket = Bucket { per_s: f64::from(MOST) / 4.0, bytes: 1.0, used_at: Instant::now() };
        Self {
            turn: Turn::default(),
            bucket: Mutex::new(bucket),
            ticked: Notify::new(),
            wanted: Notify::new(),
            slowest_ns: AtomicU64::new(0),
            waiting: Count::default(),
        }
    }

    /// Looks whether small requests are in time, forever, while there is large work.
    pub(super) async fn look(&self) {
        loop {
            self.wanted.notified().await;
            self.slowest_ns.store(0, Ordering::Relaxed);
            let mut last = Instant::now();
            while last.duration_since(self.bucket.lock().used_at) < LINGER {
                sleep(TICK).await;
                let time = last.elapsed();
                let slowest = Duration::from_nanos(self.slowest_ns.swap(0, Ordering::Relaxed));
                self.bucket.lock().tick(time, time < TICK + LATE && slowest < SLOW);
                self.ticked.notify_waiters();
                last += time;
            }
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// A small request was answered in this time.
    pub(crate) fn answered(&self, time: Duration) {
        self.slowest_ns.fetch_max(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Waits until so many bytes may be written. Meanwhile the session is not read from.
    ///
    /// # Errors
    /// `OVERLOADED` after 5 s.
    pub(crate) async fn wait_to_write(&self, bytes: usize, flow: &Flow) -> Result<(), Fault> {
        if bytes < LARGE { Ok(()) } else { self.wait(bytes * WRITE, flow).await }
    }

    /// The same for an answer of so many bytes.
    ///
    /// # Errors
    /// `OVERLOADED` after 5 s.
    pub(crate) async fn wait_to_answer(&self, bytes: usize, flow: &Flow) -> Result<(), Fault> {
        if bytes < LARGE { Ok(()) } else { self.wait(bytes, flow).await }
    }

    async fn wait(&self, bytes: usize, flow: &Flow) -> Result<(), Fault> {
        if self.may_go(bytes) {
            return Ok(());
        }
        let begun = Instant::now();
        let mut turn = pin!(self.turn(bytes));
        let went = loop {
            flow.queue_is_full();
            let went = timeout(PAUSE_AGAIN, turn.as_mut()).await.is_ok();
            if went || begun.elapsed() >= WITHIN {
                break went;
            }
        };
        flow.queue_has_room();
        if went {
            return Ok(());
        }
        metrics::refused(Refusal::ProcessBacklog);
        Err(Fault::new(Code::Overloaded, "too many large requests are under way; try again later"))
    }

    /// Whether it may be done at once, as no one waits.
    fn may_go(&self, bytes: usize) -> bool {
        let may_go = self.turn.try_lock().is_ok_and(|_turn| self.bucket.lock().take(bytes, Instant::now()));
        if may_go {
            self.wanted.notify_one();
        }
        may_go
    }

    /// The same without a limit of time, for what is under way already.
    pub(super) async fn turn(&self, bytes: usize) {
        let _counted = self.waiting.one_more();
        let _turn = self.turn.lock().await;
        loop {
            let ticked = self.ticked.notified();
            if self.bucket.lock().take(bytes, Instant::now()) {
                return self.wanted.notify_one();
            }
            self.wanted.notify_one();
            ticked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flow::backlog::Backlog;

    fn bucket(per_s: f64) -> Bucket {
        Bucket { per_s, bytes: 1.0, used_at: Instant::now() }
    }

    #[test]
    fn the_rate_grows_while_small_requests_are_in_time_and_halves_when_they_are_not() {
        let mut bucket = bucket(LEAST.into());
        (0..240).for_each(|_| bucket.tick(TICK, true));
        assert!(bucket.per_s > 0.9 * f64::from(MOST), "{bucket:?}");
        bucket.tick(TICK, false);
        assert!(bucket.per_s <= f64::from(MOST) / 2.0);
        (0..100).for_each(|_| bucket.tick(TICK, false));
        assert_eq!(bucket.per_s, f64::from(LEAST));
        (0..250).for_each(|_| bucket.tick(TICK, true));
        assert_eq!(bucket.per_s, f64::from(MOST));
    }

    #[test]
    fn what_is_larger_than_a_tick_goes_and_what_follows_waits_for_its_bytes() {
        let (mut bucket, now) = (bucket(LEAST.into()), Instant::now());
        assert!(bucket.take(1_000_000, now) && !bucket.take(1, now));
        (0..6).for_each(|_| bucket.tick(TICK, false));
        assert!(!bucket.take(1, now), "0.96 of 1 MB are paid");
        (0..1).for_each(|_| bucket.tick(TICK, false));
        assert!(bucket.take(1, now));
        bucket.tick(Duration::from_secs(60), false);
        assert!(bucket.bytes <= f64::from(LEAST) * TICK.as_secs_f64(), "a pause saves up no more than one tick");
    }

    fn flow() -> Arc<Flow> {
        Flow::new(&Backlog::new(0))
    }

    /// Whether `bytes` may go at once.
    async fn goes(pace: &Pace, bytes: usize) -> bool {
        timeout(Duration::ZERO, pace.wait_to_answer(bytes, &flow())).await.is_ok_and(|result| result.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn large_work_waits_while_small_requests_are_late_and_small_work_never_does() {
        let pace = Arc::new(Pace::new());
        let looks = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.look().await }
        });
        assert!(goes(&pace, 10 << 20).await, "the first one");
        assert!(!goes(&pace, LARGE).await && goes(&pace, LARGE - 1).await);
        // Small requests are late all the time, so 16 MB a second are left.
        let late = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move {
                loop {
                    pace.answered(SLOW);
                    sleep(TICK / 2).await;
                }
            }
        });
        pace.wait_to_write(8_000_000, &flow()).await.unwrap();
        let waits = [(); 2].map(|()| {
            let pace = Arc::clone(&pace);
            tokio::spawn(async move { pace.wait_to_answer(64_000_000, &flow()).await })
        });
        let [first, second] = waits;
        let asked = Instant::now();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(first.is_ok() != second.is_ok(), "one goes after 2 s, the other would after 6 s");
        assert!((WITHIN..WITHIN + TICK).contains(&asked.elapsed()));
        late.abort();
        sleep(WITHIN).await;
        let calm = Instant::now();
        pace.wait_to_answer(LARGE, &flow()).await.unwrap();
        assert!(calm.elapsed() < 2 * TICK, "no one waits on a calm machine");
        looks.abort();
    }
}
