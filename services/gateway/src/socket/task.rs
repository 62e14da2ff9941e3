//! A spawned task with an owner.

use tokio::task::AbortHandle;

/// Aborts the task when it is dropped.
#[derive(Debug)]
pub(super) struct OwnedTask(AbortHandle);

impl OwnedTask {
    /// Spawns `task`. The task may drop its own `OwnedTask` at its end: an aborted task still runs to its next `await`.
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
