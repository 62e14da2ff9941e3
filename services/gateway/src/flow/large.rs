//! Room for large answers. A room may have 8 MiB of states, and each join is answered with all of them: the answers of a few hundred
//! joins, were they built at once, would take more memory than there is before anyone could be closed. So each takes its share of
//! the process' budget first, and those for whom there is none wait in a line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, time::sleep};

use super::backlog::Backlog;

/// Smaller ones do not wait.
pub(super) const LARGE: usize = 64 * 1024;
/// From this size on they go at the pace of large work. In a room of a thousand members with small states they are smaller: of a
/// thousand that come back at once hundreds share a reply of presence-state, which they would not if they waited for turns.
const PACED: usize = 512 * 1024;
/// What an answer takes while it is built: presence-state's reply, as text and read; the answer; the packet; the write buffer.
const COPIES: usize = 4;
const TRY_EVERY: Duration = Duration::from_millis(5);

/// Whether answers of so many bytes go at the pace of large work.
pub(crate) fn is_paced(answer_bytes: usize) -> bool {
    answer_bytes >= PACED
}

/// Those that wait for room, and what the others have.
#[derive(Default)]
pub(super) struct Line {
    /// Held by the first in the line.
    turn: Mutex<()>,
    reserved: AtomicUsize,
    is_short: AtomicBool,
}

impl Line {
    /// The bytes that answers have which are being built.
    pub(super) fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Acquire)
    }

    /// Whether an answer waits because there is no room.
    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Acquire)
    }
}

/// There is no room for the first in the line until this is dropped.
struct Short<'a>(&'a Line);

impl Drop for Short<'_> {
    fn drop(&mut self) {
        self.0.is_short.store(false, Ordering::Release);
    }
}

/// A share of the process' budget, until it is dropped.
pub(crate) struct Reserved {
    backlog: Arc<Backlog>,
    bytes: usize,
    /// What it waited for in the line of large work.
    paced_bytes: usize,
}

impl Backlog {
    /// Waits until a join may be carried out whose answer is expected to have so many bytes: for its turn, if it is among the
    /// largest, and for room to build it.
    pub(crate) async fn wait_to_answer_join(self: &Arc<Self>, answer_bytes: usize) -> Reserved {
        let paced_bytes = if is_paced(answer_bytes) { answer_bytes } else { 0 };
        if paced_bytes > 0 {
            self.pace.turn(paced_bytes).await;
        }
        let mut share = self.reserve(answer_bytes).await;
        share.paced_bytes = paced_bytes;
        share
    }

    /// The join was carried out, and its answer has so many bytes: waits for room if it is more than was expected. Others wait for
    /// what had no turn.
    pub(crate) async fn fit_to_answer(self: &Arc<Self>, share: Reserved, answer_bytes: usize) -> Reserved {
        if is_paced(answer_bytes) {
            self.pace.charge(answer_bytes.saturating_sub(share.paced_bytes));
        }
        if share.suffices(answer_bytes) {
            return share;
        }
        // What it has is given back first: no one waits in the line with a share.
        drop(share);
        self.reserve(answer_bytes).await
    }

    /// The join was refused, which cost little.
    pub(crate) fn give_back(&self, share: Reserved) {
        self.pace.give_back(share.paced_bytes);
    }

    /// Waits until there is room to build an answer of so many bytes. One may always be built.
    pub(super) async fn reserve(self: &Arc<Self>, answer_bytes: usize) -> Reserved {
        let bytes = if answer_bytes < LARGE { 0 } else { answer_bytes.saturating_mul(COPIES) };
        if bytes > 0 {
            let line = &self.line;
            let _turn = line.turn.lock().await;
            let mut short = None;
            while line.reserved() > 0 && self.waiting().saturating_add(bytes) > self.most() {
                short.get_or_insert_with(|| Short(line));
                line.is_short.store(true, Ordering::Release);
                self.look_soon();
                sleep(TRY_EVERY).await;
            }
            line.reserved.fetch_add(bytes, Ordering::AcqRel);
        }
        Reserved { backlog: Arc::clone(self), bytes, paced_bytes: 0 }
    }
}

impl Reserved {
    /// Whether it is enough for an answer of so many bytes.
    pub(super) fn suffices(&self, answer_bytes: usize) -> bool {
        answer_bytes < LARGE || answer_bytes.saturating_mul(COPIES) <= self.bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.backlog.line.reserved.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
