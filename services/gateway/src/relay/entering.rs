//! Joins under way, and guards that keep a room subscribed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rollcall_protocol::{ConnId, Fault, RoomId, command::Joined};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use super::{
    dirty::Dirty,
    member::Member,
    registry::{ASKED_KIB, Registry, RoomHandle},
    room::Join,
};
use crate::flow::large::is_paced;

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

    /// Waits until the join may be sent, if its answer may go at the pace of large work: of a room 8 MiB of answers are under way at
    /// once, and eight that are larger, each until its permit is dropped. Joins of a room that is known to be smaller do not wait,
    /// also not those that began to before it was known.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.room.asking).acquire_many_owned(self.paced_kib()?).await.ok();
        turn.filter(|_| self.paced_kib().is_some())
    }

    /// How much of [`ASKED_KIB`] its answer takes, if it may go at that pace.
    fn paced_kib(&self) -> Option<u32> {
        let most = ASKED_KIB / 8;
        let answer = self.answer_bytes();
        if answer == 0 {
            return Some(most);
        }
        let bytes = answer.saturating_add(self.joining_bytes());
        is_paced(bytes).then(|| most.min((bytes / 1024).try_into().unwrap_or(most)))
    }

    /// What the joins under way will add to the answers, if all bring as much as this one: hundreds that join at once are in each
    /// other's answers.
    fn joining_bytes(&self) -> usize {
        self.room.entering.load(Ordering::Relaxed).saturating_mul(self.member_bytes)
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

    /// A member could not join again: it stays a member, and a repair sends it what it may have missed.
    pub(crate) fn release(&self, conn: &ConnId) {
        self.room.lock().release(conn);
        self.dirty.repair(&self.room);
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
