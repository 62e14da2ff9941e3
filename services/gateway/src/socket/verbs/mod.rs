//! What a session's worker does for each event: one request on the bus, and its answer one acknowledgement.

mod acquire;
pub(super) mod heartbeat;
pub(super) mod join;
pub(super) mod leave;
mod lock_call;
pub(super) mod locks;
pub(super) mod metadata;
mod timer;
mod waiter;

#[cfg(test)]
pub(super) use timer::hold;
