//! The local monotonic clock in milliseconds.

use std::{sync::LazyLock, time::Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since this process first asked, plus one: never 0, which stands for "never".
pub(crate) fn local_ms() -> u64 {
    START.elapsed().as_millis() as u64 + 1
}
