//! The end of a socket.
//!
//! socketioxide runs an asynchronous disconnect handler in its own task and removes the socket only after it. If a client left
//! the namespace and entered it again at once, its old socket was still there and its CONNECT was ignored. So this handler is
//! synchronous: it removes the socket first, on the task that read the packet.

use std::sync::Arc;

use socketioxide::{
    adapter::LocalAdapter,
    handler::DisconnectHandler,
    socket::{DisconnectReason, Socket},
};
use tokio::runtime::Handle;

use super::client::{Client, transport};
use crate::http::slot::Inside;

/// The disconnect handler of one socket. socketioxide drops it with the socket's end, whether or not it calls it.
pub(super) struct OnDisconnect {
    pub(super) client: Arc<Client>,
    pub(super) _inside: Option<Inside>,
}

/// The type by which socketioxide tells this kind of handler from others.
pub(super) struct Synchronous;

impl DisconnectHandler<LocalAdapter, Synchronous> for OnDisconnect {
    fn call_with_defer(&self, socket: Arc<Socket>, reason: DisconnectReason, remove: fn(Arc<Socket>)) {
        remove(Arc::clone(&socket));
        let (client, transport) = (&self.client, transport(&socket));
        if reason == DisconnectReason::PacketParsingError
            && let Some(suppressed) = client.gateway.malformed.admit()
        {
            tracing::warn!(conn = %client.conn, transport, suppressed, "socket closed: malformed packet");
        }
        client.closed(transport, name(reason));
    }
}

/// Ends the session when its socket is dropped. socketioxide calls no disconnect handler for a client that is gone before its
/// CONNECT is answered, such as one that connects and closes in one POST.
pub(super) struct LastReference {
    pub(super) client: Arc<Client>,
    pub(super) transport: &'static str,
}

impl Drop for LastReference {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
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
