//! A limit for log lines that clients, or a server that is down, can cause at any rate.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Admits one log line per period and counts the suppressed ones.
#[derive(Debug)]
pub struct LogLimit {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// At most one line per `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// If a line may be logged now: how many were suppressed since the last one.
    pub fn admit(&self) -> Option<u64> {
        self.state.lock().admit(Instant::now(), self.every)
    }
}

impl Default for LogLimit {
    /// At most one line per 10 s.
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

impl State {
    fn admit(&mut self, now: Instant, every: Duration) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < every) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_lines_are_counted_and_reported_with_the_next_one() {
        let (mut state, start, every) = (State::default(), Instant::now(), Duration::from_secs(10));
        let admitted = [0, 1, 9_999, 10_000, 30_000].map(|ms| state.admit(start + Duration::from_millis(ms), every));
        assert_eq!(admitted, [Some(0), None, None, Some(2), Some(0)]);
    }
}
