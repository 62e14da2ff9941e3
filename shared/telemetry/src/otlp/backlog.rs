//! What waits to be exported. The SDK's queues are bounded and drop in silence; here the bound is kept before them, and
//! what is dropped is counted and told, once until it works again.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use opentelemetry_sdk::error::OTelSdkResult;

use crate::metrics::{self, Reading};

/// The items of one signal that are not yet at the collector.
#[derive(Debug)]
pub(super) struct Backlog {
    signal: &'static str,
    limit: usize,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    failing: AtomicBool,
}

impl Backlog {
    /// A backlog of at most `limit`, unless the environment's `variable` has another number.
    pub(super) fn new(signal: &'static str, variable: &str, limit: usize) -> Arc<Self> {
        let limit = env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(limit);
        let backlog = Arc::new(Self {
            signal,
            limit,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let seen = Arc::clone(&backlog);
        metrics::observe(Reading::TelemetryQueue(signal), move || Some(seen.waiting.load(Ordering::Relaxed) as f64));
        let seen = Arc::clone(&backlog);
        metrics::observe(Reading::TelemetryDropped(signal), move || Some(seen.dropped.load(Ordering::Relaxed) as f64));
        backlog
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is room for one more, which then waits; else it is dropped.
    pub(super) fn admit(&self) -> bool {
        let room = self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit;
        if !room {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// A batch has left, or is lost.
    pub(super) fn left(&self, count: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let signal = self.signal;
        match result {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(
                        signal,
                        dropped = self.dropped.load(Ordering::Relaxed),
                        "the collector takes it again"
                    );
                }
            }
            Err(error) => {
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(signal, %error, "the collector does not take it; it is dropped and counted (said once until it works again)");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[test]
    fn what_has_no_room_or_does_not_arrive_is_counted() {
        let backlog = Backlog::new("tests", "ROLLCALL_NO_SUCH_VARIABLE", 2);
        assert_eq!([backlog.admit(), backlog.admit(), backlog.admit()], [true, true, false]);
        backlog.left(2, &Err(OTelSdkError::InternalFailure("away".to_owned())));
        assert_eq!(backlog.dropped.load(Ordering::Relaxed), 3);
        assert!(backlog.failing.load(Ordering::Relaxed));
        assert!(backlog.admit());
        backlog.left(1, &Ok(()));
        assert_eq!(backlog.dropped.load(Ordering::Relaxed), 3);
        assert!(!backlog.failing.load(Ordering::Relaxed));
    }
}
