//! The sessions that began with a token: they are warned, and end, with their tokens.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use rollcall_bus::revocations::Revocations;
use rollcall_service::Tasks;
use tokio::time::{MissedTickBehavior, interval};

use super::now_s;

/// From one check of all tokens to the next.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A session that began with a token.
pub(crate) trait Session: Send + Sync + 'static {
    /// Warns the client, or ends the session, if it is time. `now` is in seconds since 1970.
    fn token_ages(&self, now: u64);
    /// Ends the session if its token is revoked.
    fn end_if_revoked(&self, revocations: &Revocations);
}

/// The list of these sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Vec<Weak<dyn Session>>>);

impl Sessions {
    /// Starts to check the age of tokens.
    pub(super) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let sessions = Arc::clone(self);
        tasks.spawn_permanent("token ages", async move {
            let mut tick = interval(CHECK_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let now = now_s();
                sessions.open().into_iter().for_each(|session| session.token_ages(now));
            }
        });
    }

    /// Adds a new session.
    pub(super) fn watch(&self, session: Weak<dyn Session>) {
        self.0.lock().push(session);
    }

    /// More tokens were revoked.
    pub(super) fn check(&self, revocations: &Revocations) {
        self.open().into_iter().for_each(|session| session.end_if_revoked(revocations));
    }

    /// The sessions that have not ended. Forgets the others.
    fn open(&self) -> Vec<Arc<dyn Session>> {
        let mut open = Vec::new();
        self.0.lock().retain(|session| {
            let session = session.upgrade();
            let is_open = session.is_some();
            open.extend(session);
            is_open
        });
        open
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Seen(AtomicU64);

    impl Session for Seen {
        fn token_ages(&self, now: u64) {
            self.0.store(now, Ordering::SeqCst);
        }
        fn end_if_revoked(&self, _: &Revocations) {}
    }

    #[tokio::test(start_paused = true)]
    async fn open_sessions_are_checked_and_ended_ones_forgotten() {
        let sessions = Arc::<Sessions>::default();
        let [one, other] = [Arc::<Seen>::default(), Arc::<Seen>::default()];
        [&one, &other].into_iter().for_each(|session| sessions.watch(Arc::downgrade(session) as _));
        drop(other);
        let tasks = Tasks::default();
        sessions.start(&tasks);
        tokio::time::sleep(CHECK_EVERY / 2).await;
        assert!(one.0.load(Ordering::SeqCst) > 0);
        assert_eq!(sessions.0.lock().len(), 1);
    }
}
