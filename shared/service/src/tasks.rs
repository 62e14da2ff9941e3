//! Who owns the tasks of a process. A permanent task that ends, and any task that panics, is reported to those who wait in
//! [`Tasks::failed`]; a service then ends with that error instead of going on without the task.

use std::{fmt, thread};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

/// Tasks with one owner. All of them are aborted when it is dropped.
#[derive(Debug)]
pub struct Tasks {
    running: Mutex<JoinSet<()>>,
    failed: watch::Sender<Option<TaskFailed>>,
}

/// A task that had to run as long as its process ended, or a task panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFailed {
    name: &'static str,
    panicked: bool,
}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.panicked { "panicked" } else { "ended although it is needed" };
        write!(f, "the task `{}` {what}", self.name)
    }
}

impl std::error::Error for TaskFailed {}

impl Default for Tasks {
    fn default() -> Self {
        Self { running: Mutex::default(), failed: watch::Sender::new(None) }
    }
}

impl Tasks {
    /// Spawns a task that runs as long as the process: its end is a failure.
    pub fn spawn_permanent(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_reported(Report { name, permanent: true, failed: self.failed.clone() }, task);
    }

    /// Spawns a task that may end: only a panic is a failure.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_reported(Report { name, permanent: false, failed: self.failed.clone() }, task);
    }

    fn spawn_reported(&self, report: Report, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock();
        // Tasks that ended are forgotten here; `Report` has said what there was to say.
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let _report = report;
            task.await;
        });
    }

    /// Resolves when a permanent task has ended or any task has panicked.
    pub async fn failed(&self) -> TaskFailed {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(failure) = *failed.borrow_and_update() {
                return failure;
            }
            // `self` holds a sender: it is never closed.
            let _ = failed.changed().await;
        }
    }
}

/// Reports the end of a task, however it ends.
struct Report {
    name: &'static str,
    permanent: bool,
    failed: watch::Sender<Option<TaskFailed>>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let panicked = thread::panicking();
        if panicked || self.permanent {
            let failure = TaskFailed { name: self.name, panicked };
            self.failed.send_modify(|first| *first = first.or(Some(failure)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_permanent_task_is_a_failure() {
        let tasks = Tasks::default();
        tasks.spawn_permanent("stays", std::future::pending());
        tasks.spawn("short", async {});
        assert!(timeout(Duration::from_millis(50), tasks.failed()).await.is_err(), "a task may end");
        tasks.spawn_permanent("gone", async {});
        assert_eq!(tasks.failed().await.to_string(), "the task `gone` ended although it is needed");
        assert_eq!(tasks.failed().await.name, "gone", "also for anyone who asks later");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_of_every_task() {
        let tasks = Tasks::default();
        tasks.spawn("breaks", async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        assert_eq!(tasks.failed().await.to_string(), "the task `breaks` panicked");
    }

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let tasks = Tasks::default();
        tasks.spawn_permanent("holds", async move {
            let _held = sender;
            std::future::pending().await
        });
        drop(tasks);
        assert!(receiver.await.is_err());
    }
}
