//! How sockets go.
//!
//! socketioxide calls an asynchronous disconnect handler in a task of its own and removes the socket only after it. A client
//! that leaves the namespace and enters it again at once was then still there, and its CONNECT was ignored. So this handler is
//! none of that kind: it removes the socket first, on the task that read the packet.

use std::sync::Arc;

use socketioxide::{
    adapter::LocalAdapter,
    handler::DisconnectHandler,
    socket::{DisconnectReason, Socket},
};
use tokio::runtime::Handle;

use super::client::{Client, transport};

/// The handler of one socket's end.
pub(super) struct Departure(pub(super) Arc<Client>);

/// Marks [`Departure`] among socketioxide's kinds of handlers.
pub(super) struct AtOnce;

impl DisconnectHandler<LocalAdapter, AtOnce> for Departure {
    fn call_with_defer(&self, socket: Arc<Socket>, reason: DisconnectReason, remove: fn(Arc<Socket>)) {
        remove(Arc::clone(&socket));
        let (client, transport) = (&self.0, transport(&socket));
        if reason == DisconnectReason::PacketParsingError
            && let Some(suppressed) = client.gateway.malformed.admit()
        {
            tracing::warn!(conn = %client.conn, transport, suppressed, "closed a socket that sent a malformed packet");
        }
        client.closed(transport, name(reason));
    }
}

/// Ends the session with its socket at the latest. socketioxide calls no disconnect handler for a client that is gone before
/// its CONNECT is answered: one that connects and closes in one POST.
pub(super) struct LastReference {
    pub(super) client: Arc<Client>,
    pub(super) transport: &'static str,
}

impl Drop for LastReference {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if Handle::try_current().is_ok() {
            self.client.closed(self.transport, name(DisconnectReason::TransportClose));
        }
    }
}

fn name(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::TransportClose => "transport_close",
        DisconnectReason::MultipleHttpPollingError => "multiple_polls",
        DisconnectReason::PacketParsingError => "malformed_packet",
        DisconnectReason::TransportError => "transport_error",
        DisconnectReason::HeartbeatTimeout => "ping_timeout",
        DisconnectReason::ClientNSDisconnect => "client_disconnect",
        DisconnectReason::ServerNSDisconnect => "server_disconnect",
        DisconnectReason::ClosingServer => "server_closing",
    }
}
