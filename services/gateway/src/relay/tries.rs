//! How often, and after which waits, a snapshot or a page of channels is asked for.

use std::time::Duration;

use rollcall_protocol::{Code, Fault};

use crate::backoff::Backoff;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often a room may turn out to be unreadable.
const MOST_REJECTIONS: u32 = 5;

/// See the module.
pub(super) struct Tries {
    backoff: Backoff,
    has_failed: bool,
    rejections: u32,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::up_to(LONGEST_WAIT), has_failed: false, rejections: 0 }
    }

    /// It failed. When to try again; none if that is of no use.
    pub(super) fn failed(&mut self, fault: &Fault) -> Option<Duration> {
        self.has_failed = true;
        if !matches!(fault.code, Code::Unavailable | Code::Timeout | Code::Overloaded) {
            self.rejections += 1;
        }
        (self.rejections < MOST_REJECTIONS).then(|| self.backoff.next())
    }

    /// Whether a try has failed.
    pub(super) fn have_failed(&self) -> bool {
        self.has_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_cannot_be_read_is_given_up_and_one_that_cannot_be_had_now_is_not() {
        let fault = |code| Fault::new(code, "");
        let mut tries = Tries::new();
        for code in [Code::Unavailable, Code::Timeout, Code::Overloaded].into_iter().cycle().take(100) {
            assert!(tries.failed(&fault(code)).is_some_and(|wait| wait <= LONGEST_WAIT));
        }
        for _ in 1..MOST_REJECTIONS {
            assert!(tries.failed(&fault(Code::Internal)).is_some());
        }
        assert!(tries.failed(&fault(Code::Internal)).is_none() && tries.have_failed());
    }
}
