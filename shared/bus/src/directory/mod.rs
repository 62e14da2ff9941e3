//! Who is alive. Each instance has a lease in Redis, which it renews every 0.75 s; anyone who renews removes those whose lease
//! has ended. The list is read once; from then on each renewal says what has changed.
//!
//! - `contact`: what a server's answers say about its history; `truce`: when no one may be evicted because of that.
//! - `roster`: the list as this instance knows it. `view`: what others see of it.
//! - `trouble`: why Redis does not do what it is asked.
//! - `history`: which partitions may have lost changes.
//! - `lease`: the loop that renews, and the exchange with Redis.
//!
//! The keys need no expiry. Leases that ended are removed by the next instance that renews; what is left when the last one
//! stops is one number and at most 256 names.

mod contact;
mod history;
mod lease;
mod roster;
mod trouble;
mod truce;
mod view;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use protocol::InstanceId;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use self::{contact::SILENT_AFTER_MS, roster::Roster, trouble::Trouble, truce::Truces};
pub use self::{
    contact::Why,
    truce::Truce,
    view::{Role, View},
};
pub(crate) use self::{
    history::Histories,
    lease::{Lease, deregister},
    trouble::follow_errors,
};
use crate::{clock::local_ms, link::Link};

/// How long a request waits for a newer view when the present one has no one to ask.
const LOOK: Duration = Duration::from_millis(250);

pub(crate) struct Directory {
    link: Arc<Link>,
    roster: Mutex<Roster>,
    view: RwLock<Arc<View>>,
    truces: Mutex<Truces>,
    /// Why Redis does not do what it is asked.
    pub(crate) trouble: Arc<Trouble>,
    clock_offset_ms: AtomicI64,
    /// What Redis' clock said when the list was as the view has it.
    seen_ms: AtomicU64,
    /// When Redis last answered anything, and when it last acknowledged an exchange; 0 before.
    answered_at_ms: AtomicU64,
    acknowledged_at_ms: AtomicU64,
    /// When the renewal was sent that was acknowledged last: from then on the lease counts.
    renewed_at_ms: AtomicU64,
    /// The own entry was removed: what is under way still needs the view, but no lease any more.
    leaving: AtomicBool,
    /// A newer view is wanted.
    wanted: Notify,
    /// Exchanges that began; and those that ended with an answer, by their number.
    begun: AtomicU64,
    done: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

impl Directory {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            roster: Mutex::default(),
            view: RwLock::default(),
            truces: Mutex::default(),
            trouble: Arc::default(),
            clock_offset_ms: AtomicI64::default(),
            seen_ms: AtomicU64::default(),
            answered_at_ms: AtomicU64::default(),
            acknowledged_at_ms: AtomicU64::default(),
            renewed_at_ms: AtomicU64::default(),
            leaving: AtomicBool::default(),
            wanted: Notify::default(),
            begun: AtomicU64::default(),
            done: watch::Sender::default(),
            changed: watch::Sender::default(),
        }
    }

    /// Whether Redis does what it is asked: connected, and the lease was renewed within 1.5 s.
    pub(crate) fn check_redis(&self) -> Result<(), String> {
        let trouble = self.trouble.text();
        if !self.link.is_connected() {
            return Err(trouble.map_or_else(|| "not connected".to_owned(), |why| format!("not connected: {why}")));
        }
        match self.age_ms() {
            Some(age) if age < SILENT_AFTER_MS => Ok(()),
            _ if let Some(why) = trouble => Err(why),
            Some(age) => Err(format!("no answer for {age} ms")),
            None => Err("no answer yet".to_owned()),
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    pub(crate) fn redis_now_ms(&self) -> u64 {
        local_ms().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    /// The last moment at which the directory's server was known to have lost nothing, by its clock; 0 before its first answer.
    pub(crate) fn calm_ms(&self) -> u64 {
        self.truces().calm_ms(local_ms())
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

    /// The truce at this moment.
    pub(crate) fn truce(&self) -> Option<Truce> {
        self.truces().at(local_ms())
    }

    fn truces(&self) -> MutexGuard<'_, Truces> {
        self.truces.lock()
    }

    /// Drops an instance whose inbox no one receives any more from the view, until it renews its lease. Redis is asked at once for the
    /// lease that it has, so that a live one is back one renewal later.
    pub(crate) fn mark_gone(&self, instance: &InstanceId) {
        let mut roster = self.roster.lock();
        roster.mark_gone(instance);
        self.publish(&roster);
        self.look_soon();
    }

    /// Has the lease renewed, or registered, and the view with it, before it is due.
    pub(crate) fn look_soon(&self) {
        self.wanted.notify_one();
    }

    /// Waits for a view that Redis was asked for after this call; `false` if none came within 250 ms.
    pub(crate) async fn look_again(&self) -> bool {
        let mut done = self.done.subscribe();
        let begun = self.begun.load(Ordering::SeqCst);
        self.look_soon();
        matches!(timeout(LOOK, done.wait_for(|done| *done > begun)).await, Ok(Ok(_)))
    }

    /// Makes the view what the roster says, and wakes anyone who waits for a change if it is one.
    fn publish(&self, roster: &Roster) {
        let now = roster.view();
        let mut view = self.view.write();
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
