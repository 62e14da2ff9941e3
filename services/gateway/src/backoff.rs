//! How long to wait before a retry.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);

/// Waits that double from 250 ms to 4 s. Each is shortened by up to a half at random, so that callers that failed together do
/// not retry together.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::up_to(LONGEST)
    }

    /// Waits of at most `longest`.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { next: FIRST, longest }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        jitter(wait)
    }
}

/// A random time from half of `longest` to all of it.
pub(crate) fn jitter(longest: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    longest.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        for longest in [250, 500, 1_000, 2_000, 4_000, 4_000] {
            let wait = backoff.next().as_millis();
            assert!(wait >= longest / 2 && wait <= longest, "{wait} of {longest}");
        }
    }
}
