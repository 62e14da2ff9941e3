//! Joins under way, and guards that keep a room subscribed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rollcall_protocol::{ConnId, Fault, RoomId, command::Joined};
use tokio::sync::{MutexGuard, OwnedSemaphorePermit};
use tracing::Span;

use super::{
    dirty::Dirty,
    member::Member,
    registry::{ASKED_KIB, Registry, RoomHandle},
    room::Join,
};
use crate::flow::large::is_paced;

/// Members that take less are not expected before they are in an answer: a thousand that come back at once, whose states are small,
/// share few replies of presence-state.
const LARGE_MEMBER: usize = 1024;

/// A join under way. The room is subscribed, and its events are kept for the new member.
pub(crate) struct Entering {
    registry: Arc<Registry>,
    dirty: Arc<Dirty>,
    room: Arc<RoomHandle>,
    join: Join,
    /// About what the member will take in an answer.
    member_bytes: usize,
}

impl Entering {
    /// Makes sure that the room is subscribed. In an answer the member will take about `member_bytes`.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(super) async fn begin(
        registry: &Arc<Registry>,
        dirty: &Arc<Dirty>,
        id: &RoomId,
        member_bytes: usize,
        span: &Span,
    ) -> Result<Self, Fault> {
        let room = registry.open(id, |room| &room.entering);
        let join = room.lock().join_began();
        let entering = Self { registry: Arc::clone(registry), dirty: Arc::clone(dirty), room, join, member_bytes };
        registry.subscribe(&entering.room, span).await.map(|()| entering)
    }

    /// Waits until the join may be sent, if its answer may go at the pace of large work: answers of 8 MiB in all are under way for a
    /// room, each counted as 1 MiB at most, until its permit is dropped. Joins of a room that is known to be smaller do not wait, also
    /// not those that began to before it was known.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let asked = self.paced_kib()?;
            let mut turn = Arc::clone(&self.room.asking).acquire_many_owned(asked).await.ok()?;
            // The room may have become larger or smaller meanwhile.
            let needed = self.paced_kib()?;
            if needed <= asked {
                drop(turn.split((asked - needed) as usize));
                return Some(turn);
            }
        }
    }

    /// Waits until no other join of the room waits in the line of large work, so that a room has one place there.
    pub(crate) async fn place(&self) -> Option<MutexGuard<'_, ()>> {
        if is_paced(self.answer_bytes()) { Some(self.room.place.lock().await) } else { None }
    }

    fn paced_kib(&self) -> Option<u32> {
        let joining = if self.member_bytes < LARGE_MEMBER { 0 } else { self.room.entering.load(Ordering::Relaxed) };
        paced_kib(self.answer_bytes(), joining.saturating_mul(self.member_bytes))
    }

    /// The size of the latest answer to a join of the room here; 0 if there was none.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.room.answer_bytes.load(Ordering::Relaxed)
    }

    /// An answer has this size.
    pub(crate) fn will_answer(&self, bytes: usize) {
        self.room.answer_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Holds events back from a member that joins again, so that its answer comes first.
    pub(crate) fn hold(&self, conn: &ConnId) {
        self.room.lock().hold(conn);
    }

    /// A member could not join again, but the join may have been carried out (`may_be_written`): it stays a member, and a repair sends it
    /// what it may have missed.
    pub(crate) fn release(&self, conn: &ConnId, may_be_written: bool) {
        let needs_repair = self.room.lock().release(conn, may_be_written);
        if needs_repair {
            self.dirty.repair(&self.room);
        }
    }

    /// Answers the join and adds the member: first the answer, then every event after it. `push` puts the answer into the
    /// connection's queue; it is called under the room's lock.
    pub(crate) fn admit(self, member: Arc<dyn Member>, joined: &Joined, index: usize, push: impl FnOnce()) {
        let (id, conn) = (&self.room.id, member.conn().clone());
        let mut room = self.room.lock();
        room.begin(id, joined, index);
        push();
        room.admit(id, &conn, member, joined, index);
        let wanted = room.take_wanted();
        drop(room);
        self.dirty.schedule(&self.room, wanted);
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.room.lock().join_ended(self.join);
        self.room.entering.fetch_sub(1, Ordering::AcqRel);
        self.registry.forget_if_idle(&self.room);
    }
}

/// Counts as one in a counter of the room. As long as it lives, the room is not forgotten.
pub(crate) struct Kept {
    registry: Arc<Registry>,
    room: Arc<RoomHandle>,
    counter: fn(&RoomHandle) -> &AtomicUsize,
}

impl Kept {
    pub(super) fn new(registry: &Arc<Registry>, id: &RoomId, counter: fn(&RoomHandle) -> &AtomicUsize) -> Self {
        let room = registry.open(id, counter);
        Self { registry: Arc::clone(registry), room, counter }
    }

    pub(super) fn room(&self) -> &Arc<RoomHandle> {
        &self.room
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        (self.counter)(&self.room).fetch_sub(1, Ordering::AcqRel);
        self.registry.forget_if_idle(&self.room);
    }
}

/// How much of [`ASKED_KIB`] an answer takes, if it goes at the pace of large work: the latest had `answer_bytes`, 0 if there was none,
/// and hundreds that join at once are in each other's answers, with `joining_bytes`.
fn paced_kib(answer_bytes: usize, joining_bytes: usize) -> Option<u32> {
    let most = ASKED_KIB / 8;
    if answer_bytes == 0 {
        return Some(most);
    }
    let bytes = answer_bytes.saturating_add(joining_bytes);
    is_paced(bytes).then(|| u32::try_from(bytes / 1024).map_or(most, |kib| kib.min(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_large_answers_eight_are_under_way_and_small_ones_do_not_wait() {
        const KIB: usize = 1024;
        assert_eq!(paced_kib(0, 0), Some(1024), "it may be the largest");
        assert_eq!((paced_kib(1, 0), paced_kib(511 * KIB, 0)), (None, None));
        assert_eq!((paced_kib(512 * KIB, 0), paced_kib(100 * KIB, 500 * KIB)), (Some(512), Some(600)));
        assert_eq!((paced_kib(8192 * KIB, 0), paced_kib(usize::MAX, usize::MAX)), (Some(1024), Some(1024)));
    }
}
