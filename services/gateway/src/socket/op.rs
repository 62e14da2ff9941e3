//! An operation in a session's queue.

use rollcall_protocol::client::Request;
use rollcall_telemetry::propagation::TraceContext;

use super::{ack::Ack, held::TakenLocks};

/// An operation of a session.
pub(super) enum Op {
    /// An event of the client.
    Request(Request, Ack),
    /// The client was silent for too long.
    Expire,
    /// The record was evicted although the client is connected, and with it the session's locks.
    Evicted(TakenLocks),
    /// The socket closed.
    Closed(TraceContext),
    #[cfg(test)]
    Panic,
}

impl Op {
    pub(super) fn is_join(&self) -> bool {
        matches!(self, Self::Request(Request::Join { .. }, _))
    }
}
