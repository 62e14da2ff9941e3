//! A log line that any client can cause, written at most once in a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// See the module.
pub(super) struct LogLimit {
    every: Duration,
    /// When the last line was written, and how many have been suppressed since.
    state: Mutex<(Option<Instant>, u64)>,
}

impl LogLimit {
    /// At most one line per `every`.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, state: Mutex::default() }
    }

    /// Whether a line may be written at `now`, and how many were suppressed before it.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let (last, suppressed) = &mut *state;
        if last.is_some_and(|last| now.duration_since(last) < self.every) {
            *suppressed += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_lines_are_counted_and_reported_with_the_next_one() {
        let limit = LogLimit::new(Duration::from_secs(5));
        let start = Instant::now();
        let admitted = [0, 1, 4, 5, 6, 10].map(|s| limit.admit(start + Duration::from_secs(s)));
        assert_eq!(admitted, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
