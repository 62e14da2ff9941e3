//! What a session does next.

use protocol::client::Request;
use telemetry::propagation::TraceContext;

use super::{ack::Ack, held::Taken};

/// See the module.
pub(super) enum Op {
    /// An event of the client.
    Request(Request, Ack),
    /// The client was silent for too long.
    Expire,
    /// The record was evicted although the client is here, and with it the session's locks.
    Evicted(Taken),
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
