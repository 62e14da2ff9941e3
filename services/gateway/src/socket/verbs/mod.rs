//! What each event does: usually one request on the bus, whose answer is the acknowledgement.

mod acquire;
pub(super) mod auth;
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
