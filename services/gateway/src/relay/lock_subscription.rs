//! A subscription to the locks of a room, by a socket that holds one or waits for one.

use std::sync::Arc;

use rollcall_protocol::{ConnId, Fault, LockId, RoomId};
use tokio::sync::watch;
use tracing::Span;

use super::{entering::Kept, registry::Registry, room::LockUpdate};

/// Keeps the room subscribed.
#[derive(Clone)]
pub(crate) struct LockSubscription(Arc<Kept>);

impl LockSubscription {
    /// Makes sure that the room is subscribed.
    ///
    /// # Errors
    /// `UNAVAILABLE`: Redis did not confirm the subscription.
    pub(super) async fn begin(registry: &Arc<Registry>, id: &RoomId, span: &Span) -> Result<Self, Fault> {
        let kept = Kept::new(registry, id, |room| &room.lock_subscriptions);
        registry.subscribe(kept.room(), span).await.map(|()| Self(Arc::new(kept)))
    }

    /// Receives the updates of a lock for which `conn` waits by its operation `op`; `None` if it waits already.
    pub(crate) fn wait(&self, lock: &LockId, conn: &ConnId, op: u64) -> Option<watch::Receiver<LockUpdate>> {
        self.0.room().lock().wait_for_lock(lock, conn, op)
    }

    /// Ends the updates of a lock.
    pub(crate) fn stop_waiting(&self, lock: &LockId, conn: &ConnId) {
        self.0.room().lock().stop_waiting_for_lock(lock, conn);
    }
}
