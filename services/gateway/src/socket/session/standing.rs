//! What members were sent about a connection that its client does not know yet.

use rollcall_protocol::{Fault, RoomId, client::HeartbeatAnswer};

use super::{Session, not_joined};
use crate::socket::held::TakenLocks;

/// What members may have been sent about the connection that its client does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Known,
    /// Its record was gone and has been restored: the next heartbeat is answered `rejoined`.
    Restored,
    /// It was evicted, and is being restored.
    Evicted,
    /// It has expired: its next heartbeat restores it.
    Expired,
}

impl Session {
    /// Answers a heartbeat without Redis; `None` if it has to go to presence-state. `lease_is_fresh` returns whether Redis
    /// acknowledged the gateway's lease recently, `trace` records the epoch in the span.
    pub(in crate::socket) fn plain_heartbeat(
        &self,
        epoch: Option<u64>,
        lease_is_fresh: impl FnOnce() -> bool,
        trace: impl FnOnce(u64),
    ) -> Option<Result<HeartbeatAnswer, Fault>> {
        let mut state = self.lock();
        let Some(current) = state.joined().map(|own| own.epoch) else { return Some(Err(not_joined())) };
        match epoch {
            _ if matches!(state.standing, Standing::Evicted | Standing::Expired) => return None,
            _ if state.unanswered.is_some_and(|unanswered| unanswered.raises_epoch) => return None,
            Some(higher) if higher > current => return None,
            Some(lower) if lower < current => {
                return Some(Ok(HeartbeatAnswer { ok: true, epoch: current, stale: true, ..Default::default() }));
            }
            _ => {}
        }
        if !lease_is_fresh() {
            return Some(Err(Fault::unavailable()));
        }
        trace(current);
        let rejoined = std::mem::replace(&mut state.standing, Standing::Known) == Standing::Restored;
        Some(Ok(HeartbeatAnswer { ok: true, epoch: current, rejoined, ..Default::default() }))
    }

    /// Members were sent a leave although the client is connected; its record was at `op`. Returns the room in which the record
    /// has to be restored, unless it has been since, and the locks, which ended with the record.
    pub(in crate::socket) fn evict(&self, op: u64) -> Option<(RoomId, TakenLocks)> {
        let mut state = self.lock();
        let room = state.membership.as_ref().filter(|own| own.base_op <= op).map(|own| own.room.clone())?;
        if state.standing == Standing::Expired {
            return None;
        }
        state.standing = Standing::Evicted;
        Some((room, state.take_locks()))
    }

    /// The client was silent for too long, and its leave is about to be sent. Returns `false` if it had expired before.
    pub(in crate::socket) fn expire(&self) -> bool {
        std::mem::replace(&mut self.lock().standing, Standing::Expired) != Standing::Expired
    }

    pub(in crate::socket) fn has_expired(&self) -> bool {
        self.lock().standing == Standing::Expired
    }

    /// The record was restored by a restore of the room. The client is informed if the record was gone.
    pub(in crate::socket) fn restored(&self, was_gone: bool) {
        let mut state = self.lock();
        if state.standing == Standing::Evicted || (was_gone && state.standing == Standing::Known) {
            state.standing = Standing::Restored;
        }
    }

    /// The record exists, and the client is about to be answered. Returns whether the answer has to say that it was gone.
    pub(in crate::socket) fn is_back(&self) -> bool {
        std::mem::replace(&mut self.lock().standing, Standing::Known) == Standing::Restored
    }
}
