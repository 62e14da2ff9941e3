//! Which instances are alive. Each instance has a lease in Redis, which it renews every 0.75 s; each renewal also removes leases
//! that have ended. The list is read once; from then on each renewal returns the changes.
//!
//! - `contact`: what a server's answers say about its history; `truce`: when no one may be evicted because of that.
//! - `instances`: the list as this instance knows it. `view`: the public snapshot of it.
//! - `last_error`: why Redis does not answer or refuses.
//! - `history`: which partitions may have lost changes.
//! - `lease`: the loop that renews, and the exchange with Redis.
//!
//! The keys need no expiry. The next renewal of any instance removes leases that ended; what is left when the last instance
//! stops is one number and at most 256 names.

mod contact;
mod history;
mod instances;
mod last_error;
mod lease;
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
use rollcall_protocol::InstanceId;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use self::{contact::SILENT_AFTER_MS, instances::Instances, last_error::LastError, truce::Truces};
pub use self::{
    contact::Why,
    truce::Truce,
    view::{Role, View},
};
pub(crate) use self::{
    history::Histories,
    last_error::record_connection_errors,
    lease::{Lease, deregister},
};
use crate::{clock::local_ms, link::Link};

/// How long a request waits for a newer view when no instance in the current one can serve it.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(250);

pub(crate) struct Directory {
    link: Arc<Link>,
    instances: Mutex<Instances>,
    view: RwLock<Arc<View>>,
    truces: Mutex<Truces>,
    /// Why Redis does not answer or refuses.
    pub(crate) last_error: Arc<LastError>,
    clock_offset_ms: AtomicI64,
    /// Redis' clock when the list was as in the view.
    seen_ms: AtomicU64,
    /// When Redis last answered anything, and when it last acknowledged an exchange; 0 before the first.
    answered_at_ms: AtomicU64,
    acknowledged_at_ms: AtomicU64,
    /// When the last acknowledged renewal was sent: the lease counts from then.
    renewed_at_ms: AtomicU64,
    /// The own entry was removed. Requests in flight still need the view, but no lease.
    leaving: AtomicBool,
    /// Wakes the renewal loop for a newer view.
    refresh_wanted: Notify,
    /// The number of exchanges started, and the number of the last one that was answered.
    begun: AtomicU64,
    done: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

impl Directory {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            instances: Mutex::default(),
            view: RwLock::default(),
            truces: Mutex::default(),
            last_error: Arc::default(),
            clock_offset_ms: AtomicI64::default(),
            seen_ms: AtomicU64::default(),
            answered_at_ms: AtomicU64::default(),
            acknowledged_at_ms: AtomicU64::default(),
            renewed_at_ms: AtomicU64::default(),
            leaving: AtomicBool::default(),
            refresh_wanted: Notify::default(),
            begun: AtomicU64::default(),
            done: watch::Sender::default(),
            changed: watch::Sender::default(),
        }
    }

    /// Whether Redis is connected and has acknowledged an exchange within the last 1.5 s.
    pub(crate) fn check_redis(&self) -> Result<(), String> {
        let last_error = self.last_error.get();
        if !self.link.is_connected() {
            return Err(last_error.map_or_else(|| "not connected".to_owned(), |why| format!("not connected: {why}")));
        }
        match self.age_ms() {
            Some(age) if age < SILENT_AFTER_MS => Ok(()),
            _ if let Some(why) = last_error => Err(why),
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

    /// Redis' clock when the list was as in [`view`](Self::view); 0 before the first list.
    pub(crate) fn seen_ms(&self) -> u64 {
        self.seen_ms.load(Ordering::Acquire)
    }

    /// How long ago Redis last acknowledged an exchange; `None` before the first.
    pub(crate) fn age_ms(&self) -> Option<u64> {
        age(&self.acknowledged_at_ms)
    }

    /// The maximum age of the own lease; `None` before the first renewal.
    pub(crate) fn lease_age_ms(&self) -> Option<u64> {
        age(&self.renewed_at_ms)
    }

    /// Whether Redis answered before and has stopped. An error is an answer.
    pub(crate) fn is_silent(&self) -> bool {
        age(&self.answered_at_ms).is_some_and(|age| age >= SILENT_AFTER_MS)
    }

    /// The truce that is active now, if any.
    pub(crate) fn truce(&self) -> Option<Truce> {
        self.truces().at(local_ms())
    }

    fn truces(&self) -> MutexGuard<'_, Truces> {
        self.truces.lock()
    }

    /// Drops an instance whose inbox no one receives from the view, until it renews its lease. Redis is asked for its lease at once,
    /// so that a live instance is back one renewal later.
    pub(crate) fn mark_gone(&self, instance: &InstanceId) {
        let mut instances = self.instances.lock();
        instances.mark_gone(instance);
        self.publish(&instances);
        self.refresh_soon();
    }

    /// Renews (or registers) the lease and refreshes the view before the next tick.
    pub(crate) fn refresh_soon(&self) {
        self.refresh_wanted.notify_one();
    }

    /// Waits for a view read after this call; `false` if none came within 250 ms.
    pub(crate) async fn refresh(&self) -> bool {
        let mut done = self.done.subscribe();
        let begun = self.begun.load(Ordering::SeqCst);
        self.refresh_soon();
        matches!(timeout(REFRESH_TIMEOUT, done.wait_for(|done| *done > begun)).await, Ok(Ok(_)))
    }

    /// Publishes the list as the view, and wakes those who wait for a change if it is one.
    fn publish(&self, instances: &Instances) {
        let now = instances.view();
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
