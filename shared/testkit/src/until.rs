//! Waiting for a condition without a signal of its own: bounded polling.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a condition may take, on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Polls `look` until it finds something.
///
/// # Panics
/// It found nothing [`WITHIN`] the time limit; `what` names the condition.
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
