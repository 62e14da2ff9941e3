//! The local monotonic clock in milliseconds, and deadlines.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use rollcall_protocol::envelope::wall_clock_ms;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the first call in this process, plus one: never 0, which stands for "never".
pub(crate) fn local_ms() -> u64 {
    START.elapsed().as_millis() as u64 + 1
}

/// The deadline of a request. The caller sets it once; every attempt and every hop shares it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// By the monotonic clock, for waiting in this process.
    pub(crate) at: Instant,
    /// By this host's clock in milliseconds since 1970, for the instance that carries the request out.
    pub(crate) wall_clock_ms: u64,
}

impl Deadline {
    /// The deadline that ends after `time` from now.
    pub(crate) fn after(time: Duration) -> Self {
        Self { at: Instant::now() + time, wall_clock_ms: wall_clock_ms() + time.as_millis() as u64 }
    }

    pub(crate) fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }
}
