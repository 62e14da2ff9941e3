//! An interest in a lock of a room, by a socket that holds it or waits for it.

use std::sync::Arc;

use protocol::{ConnId, Fault, LockId, RoomId};
use tokio::sync::watch;
use tracing::Span;

use super::{LockUpdate, Relay, entering::Kept};

/// The room is heard as long as it lives.
#[derive(Clone)]
pub(crate) struct LockSubscription(Arc<Kept>);

impl Relay {
    /// Makes sure that the room is heard as long as someone has an interest in a lock of its channels.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(crate) async fn listen(self: &Arc<Self>, id: &RoomId, span: &Span) -> Result<LockSubscription, Fault> {
        let kept = self.keep(id, |room| &room.interests);
        self.registry.subscribe(&kept.room, span).await.map(|()| LockSubscription(Arc::new(kept)))
    }
}

impl LockSubscription {
    /// From now on hears what becomes of a lock for which `conn` waits by its operation `op`; `None` if it waits already.
    pub(crate) fn wait(&self, lock: &LockId, conn: &ConnId, op: u64) -> Option<watch::Receiver<LockUpdate>> {
        self.0.room.lock().wait_for_lock(lock, conn, op)
    }

    /// Hears no more of it.
    pub(crate) fn stop_waiting(&self, lock: &LockId, conn: &ConnId) {
        self.0.room.lock().stop_waiting_for_lock(lock, conn);
    }
}
