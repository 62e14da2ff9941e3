//! Who is alive. Each instance has a lease in Redis, which it renews every 0.75 s; anyone who renews removes those whose lease
//! has ended. The list is read once; from then on each renewal says what has changed.
//!
//! - `lease`: the loop that renews, and the exchange with Redis.
//! - `roster`: the list as this instance knows it. `view`: what others see of it.
//!
//! The keys need no expiry. Leases that ended are removed by the next instance that renews; what is left when the last one
//! stops is one number and at most 256 names.

mod lease;
mod roster;
mod view;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::InstanceId;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

pub(crate) use lease::{LEASE_MS, goodbye, renew};
pub use view::{Role, View};

use self::roster::Roster;
use crate::{SILENT_AFTER_MS, clock::local_ms, trouble::Trouble, truce::Truces};

/// How long a request waits for a newer view when the present one has no one to ask.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(crate) struct Directory {
    roster: Mutex<Roster>,
    view: RwLock<Arc<View>>,
    truces: Mutex<Truces>,
    /// Why Redis does not do what it is asked.
    pub(crate) trouble: Trouble,
    clock_offset_ms: AtomicI64,
    /// What Redis' clock said when the list was as the view has it.
    seen_ms: AtomicU64,
    /// When the last exchange before the last truce began was acknowledged, by Redis' clock.
    calm_ms: AtomicU64,
    /// When Redis last answered anything, and when it last acknowledged an exchange; 0 before.
    answered_at_ms: AtomicU64,
    acknowledged_at_ms: AtomicU64,
    /// When the renewal was sent that was acknowledged last: from then on the lease counts.
    renewed_at_ms: AtomicU64,
    /// The own entry was removed: what is under way still needs the view, but no lease any more.
    leaving: AtomicBool,
    /// Somebody wants a newer view.
    wanted: Notify,
    /// Exchanges that began; and those that ended with an answer, by their number.
    begun: AtomicU64,
    done: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

impl Directory {
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn redis_now_ms(&self) -> u64 {
        local_ms().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// When Redis acknowledged the last exchange before the last truce began, by its own clock; 0 before that.
    pub(crate) fn calm_ms(&self) -> u64 {
        self.calm_ms.load(Ordering::Relaxed)
    }

    /// What Redis' clock said when the list was as [`view`](Self::view) has it; 0 before the first list.
    pub(crate) fn seen_ms(&self) -> u64 {
        self.seen_ms.load(Ordering::Acquire)
    }

    /// How long ago Redis last acknowledged an exchange; `None` before the first.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        age(&self.acknowledged_at_ms)
    }

    /// How old the own lease is at most; `None` before the first renewal.
    pub(crate) fn lease_age_ms(&self) -> Option<u64> {
        age(&self.renewed_at_ms)
    }

    /// Whether Redis once answered and does so no more. An error is an answer.
    pub(crate) fn is_silent(&self) -> bool {
        age(&self.answered_at_ms).is_some_and(|age| age >= SILENT_AFTER_MS)
    }

    pub(crate) fn truces(&self) -> MutexGuard<'_, Truces> {
        lock(&self.truces)
    }

    /// Drops an instance that no one hears any more from the view, until it renews its lease. Redis is asked at once for the
    /// lease that it has, so that a live one is back one renewal later.
    pub(crate) fn mark_gone(&self, instance: &InstanceId) {
        let mut roster = lock(&self.roster);
        roster.mark_gone(instance);
        self.publish(&roster);
        self.wanted.notify_one();
    }

    /// Waits for a view that Redis was asked for after this call; `false` if none came within 250 ms.
    pub(crate) async fn look_again(&self) -> bool {
        let mut done = self.done.subscribe();
        let begun = self.begun.load(Ordering::SeqCst);
        self.wanted.notify_one();
        matches!(timeout(LOOK, done.wait_for(|done| *done > begun)).await, Ok(Ok(_)))
    }

    /// Makes the view what the roster says, and tells anyone who waits for a change if it is one.
    fn publish(&self, roster: &Roster) {
        let now = roster.view();
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if **view != now {
            *view = Arc::new(now);
            drop(view);
            self.changed.send_modify(|changes| *changes += 1);
        }
    }
}

fn age(at_ms: &AtomicU64) -> Option<u64> {
    match at_ms.load(Ordering::Relaxed) {
        0 => None,
        at => Some(local_ms().saturating_sub(at)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
