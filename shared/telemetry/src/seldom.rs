//! Log lines about faults that may come as often as clients, or a server that is down, make them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const EVERY: Duration = Duration::from_secs(10);

/// Lets a line through at most once in 10 s.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// One that lets the first line through.
    pub const fn new() -> Self {
        Self(Mutex::new(State { last: None, left_out: 0 }))
    }

    /// Whether a line may be logged now: then how many were left out since the last one.
    pub fn take(&self) -> Option<u64> {
        self.0.lock().take(Instant::now())
    }
}

impl State {
    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_says_how_many_were_left_out() {
        let (mut state, began) = (State::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!([0, 1, 9_999, 10_000, 30_000].map(|ms| state.take(at(ms))), [Some(0), None, None, Some(2), Some(0)]);
    }
}
