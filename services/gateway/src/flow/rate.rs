//! Rates with a burst. A bucket is one number, the time at which it will be full again (the generic cell rate algorithm,
//! ITU-T I.371), so a socket pays 8 bytes for a limit. The quota is shared.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const SECOND_NS: u64 = 1_000_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the process began.
pub(super) fn now_ns() -> u64 {
    START.elapsed().as_nanos() as u64
}

/// How much of something is allowed a second, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The time that one unit takes to come back; 0 is no limit.
    unit_ns: u64,
    /// The time that an empty bucket takes to be full.
    burst_ns: u64,
}

impl Quota {
    /// `per_second` units a second, and `seconds` times as many at once. 0 is no limit.
    pub(crate) const fn new(per_second: u64, seconds: u64) -> Self {
        let unit_ns = match per_second {
            0 => 0,
            _ => SECOND_NS / per_second,
        };
        Self { unit_ns, burst_ns: per_second * seconds * unit_ns }
    }
}

/// What is left of a [`Quota`]. Full at first.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at_ns: AtomicU64,
}

impl Bucket {
    /// Takes `units`, or returns after how long they could be taken. A full bucket gives more units than it has once, so that
    /// what is larger than a burst is possible at all.
    pub(crate) fn take(&self, quota: Quota, units: usize) -> Result<(), Duration> {
        self.take_at(quota, units, now_ns())
    }

    fn take_at(&self, quota: Quota, units: usize, now_ns: u64) -> Result<(), Duration> {
        if quota.unit_ns == 0 {
            return Ok(());
        }
        let cost = quota.unit_ns.saturating_mul(units as u64);
        let take = |full_at: u64| {
            let missing = full_at.saturating_sub(now_ns);
            (missing == 0 || missing.saturating_add(cost) <= quota.burst_ns).then(|| now_ns + missing + cost)
        };
        self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|full_at| {
            let missing = full_at.saturating_sub(now_ns);
            Duration::from_nanos(missing.min((missing + cost).saturating_sub(quota.burst_ns)))
        })
    }

    /// Takes `units`, even those that it does not have: what was read already cannot be refused. Returns after how long nothing is
    /// owed any more.
    pub(crate) fn charge(&self, quota: Quota, units: usize) -> Duration {
        self.charge_at(quota, units, now_ns())
    }

    fn charge_at(&self, quota: Quota, units: usize, now_ns: u64) -> Duration {
        let cost = quota.unit_ns.saturating_mul(units as u64);
        let charged = |full_at: u64| full_at.max(now_ns).saturating_add(cost);
        let before =
            self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(charged(full_at)));
        let (Ok(before) | Err(before)) = before;
        Duration::from_nanos(charged(before).saturating_sub(now_ns).saturating_sub(quota.burst_ns))
    }

    /// Whether it is full, as a new one is.
    pub(super) fn is_full(&self) -> bool {
        self.full_at_ns.load(Ordering::Relaxed) <= now_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_then_the_rate_and_a_rest_fills_it_again() {
        let (quota, bucket) = (Quota::new(50, 4), Bucket::default());
        let taken =
            |at_ms: u64, tries: usize| (0..tries).filter(|_| bucket.take_at(quota, 1, at_ms * MS).is_ok()).count();
        assert_eq!(taken(5_000, 1_000), 200);
        assert_eq!(taken(5_019, 10), 0);
        assert_eq!(taken(5_020, 10), 1);
        assert_eq!((1..=100).map(|n| taken(5_020 + 20 * n, 1)).sum::<usize>(), 100, "the honest rate");
        assert_eq!(taken(60_000, 1_000), 200);
    }

    #[test]
    fn a_refusal_says_when_it_would_fit_and_takes_nothing() {
        let (quota, bucket) = (Quota::new(1_000, 2), Bucket::default());
        assert_eq!(bucket.take_at(quota, 1_900, 0), Ok(()));
        assert_eq!(bucket.take_at(quota, 300, 0), Err(Duration::from_millis(200)));
        assert_eq!(bucket.take_at(quota, 100, 0), Ok(()));
        assert_eq!(bucket.take_at(quota, 300, 299 * MS), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take_at(quota, 300, 300 * MS), Ok(()));
    }

    #[test]
    fn what_is_larger_than_a_burst_needs_a_full_bucket() {
        let (quota, bucket) = (Quota::new(1_000, 1), Bucket::default());
        assert_eq!(bucket.take_at(quota, 5_000, 0), Ok(()));
        assert_eq!(bucket.take_at(quota, 1, 0), Err(Duration::from_millis(4_001)));
        assert_eq!(bucket.take_at(quota, 5_000, 4_999 * MS), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take_at(quota, 5_000, 5_000 * MS), Ok(()));
    }

    #[test]
    fn what_was_charged_is_owed() {
        let (quota, bucket) = (Quota::new(10, 4), Bucket::default());
        assert_eq!(bucket.charge_at(quota, 40, 0), Duration::ZERO);
        assert_eq!(bucket.charge_at(quota, 100, 0), Duration::from_secs(10));
        assert_eq!(bucket.charge_at(quota, 1, 5_000 * MS), Duration::from_millis(5_100));
        assert_eq!(bucket.charge_at(quota, 1, 60_000 * MS), Duration::ZERO);
    }

    #[test]
    fn zero_is_no_limit() {
        let bucket = Bucket::default();
        assert!((0..10_000).all(|_| bucket.take_at(Quota::new(0, 4), 1_000_000, 0).is_ok()) && bucket.is_full());
    }
}
