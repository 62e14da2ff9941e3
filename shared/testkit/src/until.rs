//! Waiting for what has no signal of its own: look, and look again, but not for ever.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything may take, on a machine that does much else.
pub const WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` finds something.
///
/// # Panics
/// It did not [`WITHIN`] time; `what` says what was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}
