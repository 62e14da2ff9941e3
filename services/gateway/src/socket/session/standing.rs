//! What members were told of a connection, and its client does not know yet.

use protocol::{Fault, RoomId, client::HeartbeatAnswer};

use super::{Session, not_joined};
use crate::socket::held::Taken;

/// What members may have been told of the connection that its client does not know yet.
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
    /// Answers a heartbeat that concerns no one else; `None` when it has to take the full way. `lease_is_fresh` says whether
    /// Redis confirmed the gateway's lease recently, `trace` notes the epoch in the span.
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

    /// Members were told that the connection is gone although its client is here; its record stood at `op`. Unless it was
    /// restored since, that has to be done now, in the room that is returned. The locks went with the record.
    pub(in crate::socket) fn evict(&self, op: u64) -> Option<(RoomId, Taken)> {
        let mut state = self.lock();
        let room = state.membership.as_ref().filter(|own| own.base_op <= op).map(|own| own.room.clone())?;
        if state.standing == Standing::Expired {
            return None;
        }
        state.standing = Standing::Evicted;
        Some((room, state.take_locks()))
    }

    /// Its client was silent for too long, and the leave is about to be sent; says whether it had not expired before.
    pub(in crate::socket) fn expire(&self) -> bool {
        std::mem::replace(&mut self.lock().standing, Standing::Expired) != Standing::Expired
    }

    pub(in crate::socket) fn has_expired(&self) -> bool {
        self.lock().standing == Standing::Expired
    }

    /// The record was restored outside the session's own work. The client learns it if the record was gone.
    pub(in crate::socket) fn restored(&self, was_gone: bool) {
        let mut state = self.lock();
        if state.standing == Standing::Evicted || (was_gone && state.standing == Standing::Known) {
            state.standing = Standing::Restored;
        }
    }

    /// The record is there, and the client learns it with this answer. Says whether it has to be told that it was gone.
    pub(in crate::socket) fn is_back(&self) -> bool {
        std::mem::replace(&mut self.lock().standing, Standing::Known) == Standing::Restored
    }
}
