//! Owners of spawned tasks. If a permanent task ends, or any task panics, [`Tasks::failed`] resolves. The service then ends
//! with that error instead of running on without the task. That also holds while it stops: `run` selects between its complete
//! life, shutdown included, and the failures.

use std::{fmt, thread};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tasks with one owner. When it is dropped, all of them end at their next await.
#[derive(Debug)]
pub struct Tasks(Spawner);

/// Spawns tasks that a [`Tasks`] owns, for code that only borrows the owner or must not keep it alive. A task that is spawned
/// after the owner has ended never runs.
#[derive(Debug, Clone)]
pub struct Spawner {
    running: TaskTracker,
    end: CancellationToken,
    failed: watch::Sender<Option<TaskFailed>>,
}

/// A permanent task ended, or a task panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFailed {
    name: &'static str,
    panicked: bool,
}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.panicked { "panicked" } else { "ended, but must run as long as the process" };
        write!(f, "the task `{}` {what}", self.name)
    }
}

impl std::error::Error for TaskFailed {}

impl Default for Tasks {
    fn default() -> Self {
        let (running, end, failed) = (TaskTracker::new(), CancellationToken::new(), watch::Sender::new(None));
        Self(Spawner { running, end, failed })
    }
}

impl Tasks {
    /// Spawns a task that must run until its owner ends: if it ends earlier, that is a failure.
    pub fn spawn_permanent(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn_reported(name, true, task);
    }

    /// Spawns a task that may end: only a panic is a failure.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(name, task);
    }

    /// Spawns further tasks of this owner.
    pub fn spawner(&self) -> Spawner {
        self.0.clone()
    }

    /// Resolves when a permanent task has ended or any task has panicked.
    pub async fn failed(&self) -> TaskFailed {
        let mut failed = self.0.failed.subscribe();
        loop {
            if let Some(failure) = *failed.borrow_and_update() {
                return failure;
            }
            // `self` holds a sender: it is never closed.
            let _ = failed.changed().await;
        }
    }

    /// Ends all tasks, each at its next await, and resolves when they have ended. This is not a failure of any of them.
    pub async fn end(&self) {
        self.0.end.cancel();
        self.0.running.close();
        self.0.running.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.end.cancel();
    }
}

impl Spawner {
    /// Spawns a task that may end: only a panic is a failure.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_reported(name, false, task);
    }

    fn spawn_reported(&self, name: &'static str, permanent: bool, task: impl Future<Output = ()> + Send + 'static) {
        let Self { end, failed, .. } = self.clone();
        self.running.spawn(async move {
            let report = Report { name, permanent, end, failed };
            report.end.run_until_cancelled(task).await;
        });
    }
}

/// Reports the end of a task, even if it panics or is dropped.
struct Report {
    name: &'static str,
    permanent: bool,
    end: CancellationToken,
    failed: watch::Sender<Option<TaskFailed>>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let panicked = thread::panicking();
        if panicked || self.permanent && !self.end.is_cancelled() {
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
        assert_eq!(tasks.failed().await.to_string(), "the task `gone` ended, but must run as long as the process");
        assert_eq!(tasks.failed().await.name, "gone", "for a later caller too");
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
        let spawner = tasks.spawner();
        tasks.spawn_permanent("holds", async move {
            let _held = sender;
            std::future::pending().await
        });
        drop(tasks);
        assert!(receiver.await.is_err());
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        spawner.spawn("late", async move { sender.send(()).unwrap() });
        assert!(receiver.await.is_err(), "no task starts after the end");
    }

    #[tokio::test]
    async fn ending_tasks_is_not_a_failure_unless_one_panics_as_it_ends() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let tasks = Tasks::default();
        tasks.spawn_permanent("stays", std::future::pending());
        tasks.end().await;
        assert!(timeout(Duration::from_millis(50), tasks.failed()).await.is_err());

        let tasks = Tasks::default();
        let held = Panics;
        tasks.spawn_permanent("breaks", async move {
            let _held = held;
            std::future::pending().await
        });
        tokio::task::yield_now().await;
        tasks.end().await;
        assert_eq!(tasks.failed().await.to_string(), "the task `breaks` panicked");
    }
}
