//! The items that wait to be exported. The SDK's queues are bounded and drop silently. The same bound applies here before an
//! item reaches them, and what is dropped is counted and logged: one line until the export recovers.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use opentelemetry_sdk::error::OTelSdkResult;
use parking_lot::Mutex;

use crate::metrics::{self, Reading};

/// The items of one signal that have not reached the collector.
#[derive(Debug)]
pub(super) struct Backlog {
    signal: &'static str,
    limit: usize,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    failing: AtomicBool,
    /// Why the last request failed.
    reason: Mutex<Option<String>>,
}

impl Backlog {
    /// A backlog of at most `limit` items, unless the environment variable `variable` sets another number.
    pub(super) fn new(signal: &'static str, variable: &str, limit: usize) -> Arc<Self> {
        let limit = env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(limit);
        let backlog = Arc::new(Self {
            signal,
            limit,
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            reason: Mutex::default(),
        });
        let seen = Arc::clone(&backlog);
        metrics::observe(Reading::TelemetryQueue(signal), move || Some(seen.waiting.load(Ordering::Relaxed) as f64));
        metrics::observe(Reading::TelemetryLimit(signal), move || Some(limit as f64));
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

    /// Admits one more item, or counts it as dropped if the backlog is full.
    pub(super) fn admit(&self) -> bool {
        let room = self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit;
        if !room {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// Keeps the reasons of failed requests for the line that [`finish`](Self::finish) logs.
    pub(super) fn reasons(this: &Arc<Self>) -> impl Fn(Result<(), String>) + Send + Sync + use<> {
        let backlog = Arc::clone(this);
        move |ended| *backlog.reason.lock() = ended.err()
    }

    /// Removes a batch that was exported or is lost.
    pub(super) fn finish(&self, count: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let signal = self.signal;
        match result {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(signal, dropped = self.dropped.load(Ordering::Relaxed), "OTLP export recovered");
                }
            }
            Err(error) => {
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let reason = self.reason.lock().take();
                    tracing::warn!(
                        signal,
                        %error,
                        reason,
                        "OTLP export failed; items are dropped and counted (logged once until it recovers)"
                    );
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
    fn items_that_find_no_room_or_are_not_exported_are_counted_as_dropped() {
        let backlog = Backlog::new("tests", "ROLLCALL_NO_SUCH_VARIABLE", 2);
        assert_eq!([backlog.admit(), backlog.admit(), backlog.admit()], [true, true, false]);
        backlog.finish(2, &Err(OTelSdkError::InternalFailure("away".to_owned())));
        assert_eq!(backlog.dropped.load(Ordering::Relaxed), 3);
        assert!(backlog.failing.load(Ordering::Relaxed));
        assert!(backlog.admit());
        backlog.finish(1, &Ok(()));
        assert_eq!(backlog.dropped.load(Ordering::Relaxed), 3);
        assert!(!backlog.failing.load(Ordering::Relaxed));
    }
}
