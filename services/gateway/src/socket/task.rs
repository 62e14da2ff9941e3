//! A spawned task that has an owner.

use tokio::task::AbortHandle;

/// Ends the task when it is dropped, if the task has not ended by itself.
#[derive(Debug)]
pub(super) struct OwnedTask(AbortHandle);

impl OwnedTask {
    /// Spawns `task`. It may drop its own `OwnedTask` as its last act: an aborted task still runs to its next `await`.
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
