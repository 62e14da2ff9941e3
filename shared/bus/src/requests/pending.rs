//! Requests that wait for their answer. Each is counted while its [`Ticket`] lives, however its caller ends.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use rollcall_protocol::{Code, Fault, InstanceId, command::Outcome};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::publisher::Deliveries;

/// Requests of one instance that may be pending.
const MAX_PENDING: usize = 65_536;
/// The bytes of requests that may be pending, wherever they wait: in an outbox, in Redis or in their target. A restore of 128
/// full states has 2 MiB, and 32 of them are sent at a time.
const MAX_PENDING_BYTES: usize = 128 * 1024 * 1024;

/// A reply. Several requests may share its outcome.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The result of the request.
    pub outcome: Arc<Outcome>,
    /// The request's index among those that share the outcome.
    pub index: usize,
}

impl Answer {
    /// The outcome of a request that shares none.
    ///
    /// # Errors
    /// `INTERNAL`: another request shares it.
    pub fn into_outcome(self) -> Result<Outcome, Fault> {
        Arc::try_unwrap(self.outcome)
            .map_err(|_| Fault::new(Code::Internal, "an answer was shared with another request"))
    }
}

/// How one attempt ended.
#[derive(Debug)]
pub(super) enum Verdict {
    Answered(Answer),
    /// The target is gone.
    Gone,
    /// Redis did not take the message.
    Refused,
}

struct Entry {
    verdict: oneshot::Sender<Verdict>,
    target: InstanceId,
    published: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Pending {
    entries: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
    /// Of all tickets.
    bytes: AtomicUsize,
}

/// One pending request. Dropping it gives the request up.
pub(super) struct Ticket<'a> {
    pending: &'a Pending,
    pub(super) id: u64,
    bytes: usize,
    verdict: oneshot::Receiver<Verdict>,
}

impl Ticket<'_> {
    /// Waits for the verdict; `None` if there is none at the deadline.
    pub(super) async fn verdict(&mut self, deadline: Instant) -> Option<Verdict> {
        match timeout_at(deadline, &mut self.verdict).await {
            Ok(verdict) => Some(verdict.unwrap_or(Verdict::Refused)),
            Err(_) => None,
        }
    }

    /// Whether it was published, or may have been.
    pub(super) fn was_published(&self) -> bool {
        self.pending.entries.lock().get(&self.id).is_some_and(|entry| entry.published)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.pending.entries.lock().remove(&self.id);
        self.pending.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Pending {
    /// A ticket for a request of so many bytes to `target`; `None` when too many requests or bytes are pending.
    pub(super) fn open(&self, target: InstanceId, bytes: usize) -> Option<Ticket<'_>> {
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_PENDING || self.bytes.load(Ordering::Acquire) + bytes > MAX_PENDING_BYTES {
            return None;
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, verdict) = oneshot::channel();
        entries.insert(id, Entry { verdict: sender, target, published: false });
        Some(Ticket { pending: self, id, bytes, verdict })
    }

    /// The number of pending requests.
    pub(crate) fn count(&self) -> usize {
        self.entries.lock().len()
    }

    /// The instances with replies outstanding.
    pub(super) fn targets(&self) -> HashSet<InstanceId> {
        let entries = self.entries.lock();
        entries.values().filter(|entry| entry.published).map(|entry| entry.target.clone()).collect()
    }

    /// Delivers a reply.
    pub(crate) fn resolve(&self, ids: &[u64], outcome: Outcome) {
        let outcome = Arc::new(outcome);
        let mut entries = self.entries.lock();
        for (index, id) in ids.iter().enumerate() {
            // Not found: an id of another gateway in a shared reply, or a request that was given up.
            if let Some(entry) = entries.remove(id) {
                let _ = entry.verdict.send(Verdict::Answered(Answer { outcome: Arc::clone(&outcome), index }));
            }
        }
    }
}

impl Deliveries for Pending {
    fn is_awaited(&self, id: u64) -> bool {
        self.entries.lock().contains_key(&id)
    }

    fn published(&self, ids: &[u64]) {
        let mut entries = self.entries.lock();
        for id in ids {
            if let Some(entry) = entries.get_mut(id) {
                entry.published = true;
            }
        }
    }

    fn refused(&self, ids: &[u64]) {
        let mut entries = self.entries.lock();
        for id in ids {
            if let Some(entry) = entries.remove(id) {
                let _ = entry.verdict.send(Verdict::Refused);
            }
        }
    }

    fn gone(&self, target: &InstanceId) {
        for (_, entry) in self.entries.lock().extract_if(|_, entry| entry.target == *target) {
            let _ = entry.verdict.send(Verdict::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_and_awaited_as_long_as_its_ticket_lives() {
        let pending = Pending::default();
        let ticket = pending.open("presence-state-a".into(), 1).unwrap();
        let id = ticket.id;
        assert_eq!((pending.count(), pending.is_awaited(id)), (1, true));
        pending.published(&[id]);
        assert!(ticket.was_published() && pending.targets().len() == 1);
        drop(ticket);
        assert_eq!((pending.count(), pending.is_awaited(id), pending.targets().len()), (0, false, 0));
    }
    #[test]
    fn no_more_bytes_are_pending_than_may_be() {
        let pending = Pending::default();
        let open = || pending.open("presence-state-a".into(), MAX_PENDING_BYTES / 2);
        let both = (open().unwrap(), open().unwrap());
        assert!(pending.open("presence-state-a".into(), 1).is_none());
        drop(both.0);
        assert!(open().is_some());
    }
}
