//! Large writes that presence-state was asked for and has not answered. Redis carries out one script at a time, and a write of 60 KB
//! takes it 1.1 ms: whatever waits there holds up the small requests of everyone. So few are under way at a time, and the rest wait
//! here. The rate of `pace` follows what Redis can bear only after small requests were late; this keeps its queue short meanwhile.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes may be under way: four writes of 60 KB, which a quiet Redis answers in 5 ms. That is 800 of them a second, about
/// what it can carry out.
const MOST: usize = 256 * 1024;

/// The bytes that may begin.
pub(super) struct Writes(Arc<Semaphore>);

/// A large write under way, until it is dropped.
pub(crate) struct Writing(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Writes {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }

    /// Waits until a write of so many bytes may begin; one that is larger than all waits until no other is under way.
    pub(super) async fn begin(&self, bytes: usize) -> Option<Writing> {
        let permits = u32::try_from(bytes.min(MOST)).ok()?;
        Arc::clone(&self.0).acquire_many_owned(permits).await.ok().map(Writing)
    }
}
