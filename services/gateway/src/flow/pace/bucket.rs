//! The rate of large work, and what may go at it. No clock of its own.

use std::time::Duration;

use tokio::time::Instant;

/// The time between two looks.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// A look that comes later than this makes up for no more.
pub(super) const LONGEST_TICK: Duration = Duration::from_millis(100);
/// The rates, in bytes per second. The least keeps large work going on a machine that is late whatever this process does.
pub(super) const LEAST: u32 = 16_000_000;
pub(super) const MOST: u32 = 512_000_000;
/// The rate to begin with, and the most after a time without large work, which tells nothing of what can be borne now (as RFC 2861 has
/// it for TCP).
pub(super) const FIRST: u32 = MOST / 4;
/// What a tick in time adds: 100 MB a second in a second; a tenth if no small request was answered, which says little.
pub(super) const STEP: f64 = 1e6;
pub(super) const BLIND_STEP: f64 = STEP / 10.0;
/// From this part of the rate that was too much last, a tick adds only so much of a step, for a while: what is too much is found out
/// seldom, as by TCP's CUBIC (RFC 9438).
const NEAR: f64 = 0.75;
const NEAR_PART: f64 = 0.1;
const NEAR_FOR: Duration = Duration::from_secs(5);
/// Looks that are late with less time between them have one cause: the rate before them was too much, not what it was halved to.
const EPISODE: Duration = Duration::from_millis(50);
/// Of the rate, what events may take between two pieces of large work, which so wait at most this much longer however much is delivered.
pub(super) const MOST_FOR_EVENTS: Duration = Duration::from_millis(50);

/// What may go now. Bytes may be owed: one piece of work is never divided.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) per_s: f64,
    /// The rate that was too much last.
    pub(super) too_much_per_s: f64,
    /// For how long no look was late.
    pub(super) in_time_for: Duration,
    pub(super) bytes: f64,
    /// What events took since large work last went.
    pub(super) for_events: f64,
    pub(super) used_at: Instant,
}

/// What a tick tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    InTime,
    /// In time, and no small request was answered.
    Blind,
    Late,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            per_s: FIRST.into(),
            too_much_per_s: MOST.into(),
            in_time_for: NEAR_FOR,
            bytes: 1.0,
            for_events: 0.0,
            used_at: now,
        }
    }

    /// Large work begins again.
    pub(super) fn begin(&mut self) {
        self.per_s = self.per_s.min(FIRST.into());
        self.in_time_for = NEAR_FOR;
    }

    /// A look after so much time.
    pub(super) fn tick(&mut self, time: Duration, look: Look) {
        if look != Look::Late {
            self.in_time_for += time;
        } else if std::mem::take(&mut self.in_time_for) >= EPISODE {
            self.too_much_per_s = self.per_s;
        }
        let is_near = self.in_time_for < NEAR_FOR && self.per_s >= NEAR * self.too_much_per_s;
        let part = if is_near { NEAR_PART } else { 1.0 };
        self.per_s = match look {
            Look::InTime => (self.per_s + part * STEP).min(MOST.into()),
            Look::Blind => (self.per_s + part * BLIND_STEP).min(MOST.into()),
            Look::Late => (self.per_s / 2.0).max(LEAST.into()),
        };
        // What was not used is not saved up.
        let full = self.per_s * time.clamp(TICK, LONGEST_TICK).as_secs_f64();
        self.bytes = (self.bytes + self.per_s * time.as_secs_f64()).min(full);
    }

    /// Takes what events take, up to a bound until large work goes again.
    pub(super) fn take_for_events(&mut self, bytes: usize, now: Instant) {
        self.used_at = now;
        let left = (self.per_s * MOST_FOR_EVENTS.as_secs_f64() - self.for_events).max(0.0);
        let taken = left.min(bytes as f64);
        (self.bytes, self.for_events) = (self.bytes - taken, self.for_events + taken);
    }

    /// Whether the first in the line may go.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> bool {
        self.used_at = now;
        let may_go = self.bytes > 0.0;
        if may_go {
            (self.bytes, self.for_events) = (self.bytes - bytes as f64, 0.0);
        }
        may_go
    }
}
