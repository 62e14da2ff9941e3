//! The bytes that wait for one session. They count from the moment they are handed to socketioxide until the kernel has taken
//! them: a WebSocket's connection counts what it writes, and the body of a poll's answer counts when it is dropped. Frame heads
//! and pings are written without being counted before, so the count is at most a little too low, and never below 0. Bytes are
//! added to the process' count first and removed from the session's first, so the process' count is never below 0. (A buffer counts for
//! the session first: it is removed at the connection's end only.)

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};

use super::{Flow, backlog::Debtor, large::LARGE};

/// The most bytes that wait for one session, plus one message that is larger.
pub(crate) const MOST_WAITING: usize = 1024 * 1024;
/// A session that owes less is not listed as a debtor.
pub(super) const DEBTOR_BYTES: usize = 4 * 1024;
/// The buffers of a WebSocket stay as large as its largest messages (docs/internals/libraries.md, S12). From this size on they
/// are counted.
const LARGE_BUFFER: usize = 32 * 1024;

/// The bytes of one session.
#[derive(Default)]
pub(super) struct Outward {
    /// Of packets that the kernel has not taken.
    packets: AtomicUsize,
    /// Of acknowledgements that wait for room among the packets.
    acks: AtomicUsize,
    /// Of the library's buffers for writing and for reading.
    buffers: [AtomicUsize; 2],
    /// All that the kernel took.
    taken: AtomicU64,
    is_listed: AtomicBool,
    /// Closes the session that it carries now.
    debtor: Mutex<Option<Weak<dyn Debtor>>>,
    changed: Notify,
}

impl Outward {
    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Resolves with the next change after this call.
    pub(super) fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> usize {
        self.packets.load(Ordering::Acquire) + self.acks.load(Ordering::Acquire)
    }

    fn owed(&self) -> usize {
        self.waiting() + self.buffers.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum::<usize>()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.acks.load(Ordering::Acquire) > 0 || self.waiting() > MOST_WAITING
    }

    pub(super) fn debtor(&self) -> Option<Arc<dyn Debtor>> {
        self.debtor.lock().as_ref().and_then(Weak::upgrade)
    }
}

/// Where the library keeps a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Buffer {
    Write,
    Read,
}

impl Flow {
    /// Whether a packet of so many bytes may be sent: it fits, or is a larger one and the budget is not exceeded yet. What makes
    /// much of it has to fit the process' budget too: it takes a while until a debtor that was closed has given its memory back.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        let waiting = self.outward.packets.load(Ordering::Acquire);
        if waiting + bytes >= LARGE && !self.backlog.has_room_for(bytes) {
            return false;
        }
        waiting + bytes <= MOST_WAITING || (bytes > MOST_WAITING && waiting <= MOST_WAITING)
    }

    /// A packet of so many bytes is about to be sent.
    pub(crate) fn sends(&self, bytes: usize) {
        self.backlog.add(bytes);
        self.outward.packets.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A packet of so many bytes was not sent.
    pub(crate) fn did_not_send(&self, bytes: usize) {
        self.remove(bytes);
    }

    /// The kernel took so many bytes.
    pub(crate) fn took(&self, bytes: usize) {
        self.outward.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        self.remove(bytes);
    }

    fn remove(&self, bytes: usize) {
        let less = |packets: usize| Some(packets.saturating_sub(bytes));
        let before = self.outward.packets.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        let before = before.unwrap_or_default();
        self.backlog.remove(bytes.min(before));
        if before > MOST_WAITING {
            self.outward.changed();
        }
    }

    /// An acknowledgement of so many bytes is pending.
    pub(crate) fn keeps(&self, bytes: usize) {
        self.backlog.add(bytes);
        self.outward.acks.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes of acknowledgements are not pending any more: they were sent, or are dropped. If none are left, reading goes on.
    /// A connection may carry the next session while acknowledgements of the one before are dropped, so each removes its own.
    pub(crate) fn keeps_less(&self, bytes: usize) {
        let before = self.outward.acks.fetch_sub(bytes, Ordering::AcqRel);
        self.backlog.remove(bytes);
        if before == bytes {
            self.outward.changed();
        }
    }

    /// A buffer of the library has at least this size, and keeps it.
    pub(crate) fn has_buffer(&self, buffer: Buffer, bytes: usize) {
        if bytes >= LARGE_BUFFER {
            let before = self.outward.buffers[buffer as usize].fetch_max(bytes, Ordering::AcqRel);
            self.backlog.add(bytes.saturating_sub(before));
        }
    }

    /// All bytes that the process keeps for the session.
    pub(crate) fn owed(&self) -> usize {
        self.outward.owed()
    }

    /// Whether too much waits for the session to carry out, or read, any more of it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.outward.is_blocked()
    }

    /// Resolves with the next change of [`is_blocked`](Self::is_blocked) after this call.
    pub(crate) fn change(&self) -> Notified<'_> {
        self.outward.change()
    }

    /// From now on it carries the session that `debtor` closes.
    pub(crate) fn carries(&self, debtor: Weak<dyn Debtor>) {
        *self.outward.debtor.lock() = Some(debtor);
    }

    /// Lists it as a debtor if it owes enough and is not listed.
    pub(crate) fn list(self: &Arc<Self>) {
        if self.becomes_listed() {
            self.backlog.list(self);
        }
    }

    /// Whether it has to be listed now. Then it counts as listed.
    pub(super) fn becomes_listed(&self) -> bool {
        self.owed() >= DEBTOR_BYTES && !self.outward.is_listed.swap(true, Ordering::SeqCst)
    }

    /// It is not listed any more.
    pub(super) fn unlist(&self) {
        // Not a store, which what it owes could be read before.
        self.outward.is_listed.swap(false, Ordering::SeqCst);
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.backlog.remove(self.owed());
    }
}

/// The bytes of a poll's answer, which were taken when this is dropped.
pub(crate) struct Answer {
    bytes: Bytes,
    flow: Arc<Flow>,
}

impl Answer {
    /// Counts `bytes` as taken when the last reference to what this returns is dropped.
    pub(crate) fn counted(bytes: Bytes, flow: Arc<Flow>) -> Bytes {
        Bytes::from_owner(Self { bytes, flow })
    }
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.flow.took(self.bytes.len());
    }
}
