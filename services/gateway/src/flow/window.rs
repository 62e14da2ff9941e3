//! What is under way at presence-state and has not been answered. Redis carries out one script at a time, so whatever is long and waits
//! there holds up the small requests of everyone. Where many of a kind may come at once, few are under way, and the rest wait here.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What takes longer counts no more: it may be for a primary that is down, and others are for primaries that are not.
const COUNTED_FOR: Duration = Duration::from_millis(250);

/// How much may be under way.
pub(crate) struct Window {
    left: Arc<Semaphore>,
    size: usize,
}

/// Something that may be under way.
pub(crate) struct UnderWay(Option<OwnedSemaphorePermit>);

impl Window {
    pub(crate) fn new(size: usize) -> Self {
        Self { left: Arc::new(Semaphore::new(size)), size }
    }

    /// Begins something of this size, if it may begin now.
    pub(crate) fn try_begin(&self, size: usize) -> Option<UnderWay> {
        let permit = Arc::clone(&self.left).try_acquire_many_owned(self.permits(size)).ok()?;
        Some(UnderWay(Some(permit)))
    }

    /// Waits until something of this size may begin, in order; if it is larger than the window, until nothing else is under way.
    pub(crate) async fn begin(&self, size: usize) -> UnderWay {
        // Never closed.
        UnderWay(Arc::clone(&self.left).acquire_many_owned(self.permits(size)).await.ok())
    }

    fn permits(&self, size: usize) -> u32 {
        u32::try_from(size.min(self.size)).unwrap_or(u32::MAX)
    }
}

impl UnderWay {
    /// Something that no window counts.
    pub(crate) fn uncounted() -> Self {
        Self(None)
    }

    /// Makes the call; it is under way until it is answered, or takes too long to count.
    pub(crate) async fn during<T>(self, call: impl Future<Output = T>) -> T {
        let Some(permit) = self.0 else { return call.await };
        let mut call = pin!(call);
        if let Ok(answer) = timeout(COUNTED_FOR, call.as_mut()).await {
            return answer;
        }
        drop(permit);
        call.await
    }
}
