//! Sockets: connect, events, disconnect. Each of these modules uses only earlier ones:
//!
//! - `task`: tasks with an owner.
//! - `pending_acks`, `outlet`: sends to one client. `ack`: the acknowledgement of one event.
//! - `held`: the locks of one session. `op`: an operation in a session's queue. `session`: the data of one session.
//! - `client`: one client, and what it shares with others.
//! - `verbs`: what each event does. `worker`: carries out the operations of a session in order.
//! - `disconnect`, `events`: the handlers that socketioxide calls. Here: the connect.

pub(crate) mod ack;
pub(crate) mod client;
mod disconnect;
mod events;
mod held;
mod member;
mod op;
mod outlet;
mod pending_acks;
mod session;
mod task;
#[cfg(test)]
mod tests;
mod verbs;
mod worker;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::extract::ConnectInfo;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rollcall_protocol::{Code, ConnId, Fault, client::Token};
use rollcall_telemetry::{
    metrics::{self, Refusal},
    propagation::TraceContext,
};
use serde::{Deserialize, Deserializer};
use socketioxide::{
    ParserConfig, SocketIo,
    adapter::LocalAdapter,
    extract::{SocketRef, TryData},
    handler::{ConnectHandler as _, FromConnectParts, Value},
    layer::SocketIoLayer,
    socket::Socket,
};
use tracing::Span;

use self::{
    client::{Client, Gateway},
    disconnect::{LastReference, OnDisconnect},
    events::Events,
    outlet::Outlet,
};
use crate::{
    auth::access::Access,
    config::Pings,
    http::{
        connections::Peer,
        gate::is_websocket,
        slim::UserAgent,
        slot::{OUTSIDE_FOR, Slot},
    },
};

/// The largest message of a client.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The most binary attachments of one packet; with more, the socket is closed. The list of attachments, 32 bytes each, is kept
/// until the last one has come.
const MAX_ATTACHMENTS: usize = 256;
/// A client that owes this much for what is not an event may not enter the namespace: one POST has room for 10,000 times.
const MOST_OWED: Duration = Duration::from_secs(10);
/// Packets that may wait for a slow reader, up to 8.5 MiB with the largest states. The queue's blocks are allocated on use, so
/// an idle socket does not pay for them.
const MAX_WAITING_PACKETS: usize = 512;
/// Room for two heartbeat frames. With the default of 4 KiB an idle socket would hold 3.5 KiB more.
const READ_BUFFER_BYTES: usize = 512;

/// The Socket.IO server as a layer of HTTP.
pub(crate) fn layer(gateway: Arc<Gateway>, pings: Pings) -> (SocketIoLayer, SocketIo) {
    let (layer, io) = SocketIo::builder()
        .max_payload(MAX_MESSAGE_BYTES as u64)
        .ws_max_message_size(MAX_MESSAGE_BYTES)
        .ws_max_frame_size(MAX_MESSAGE_BYTES)
        .ws_read_buffer_size(READ_BUFFER_BYTES)
        .max_buffer_size(MAX_WAITING_PACKETS)
        .ping_interval(pings.interval)
        .ping_timeout(pings.timeout)
        .connect_timeout(OUTSIDE_FOR)
        // Binary attachments are never valid. They are read so that their sender gets an answer.
        .with_parser(
            ParserConfig::common()
                .max_incoming_binaries(MAX_ATTACHMENTS)
                .max_incoming_binary_buf_size(MAX_MESSAGE_BYTES),
        )
        .build_layer();
    // The session begins in the middleware: socketioxide runs the connect handler only after the client received its CONNECT
    // answer, and an event that came before would find no handler.
    let begin = move |Incoming(socket): Incoming, handshake: TryData<Handshake>| {
        let gateway = Arc::clone(&gateway);
        async move { connect(&gateway, &socket, handshake.0.unwrap_or_default()).await }
    };
    io.ns("/", (async |_: SocketRef| {}).with(begin));
    (layer, io)
}

/// The `auth` object of a connecting client. It is never logged.
#[derive(Default, Deserialize)]
struct Handshake {
    /// The trace of the application's own operation; anything but a text counts as absent.
    #[serde(default, deserialize_with = "text")]
    traceparent: Option<String>,
    /// Who the client is.
    token: Option<Token>,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map(ToOwned::to_owned))
}

/// Extracts the socket as an `Arc`: sessions hold it weakly, which socketioxide's own extractor does not allow.
struct Incoming(Arc<Socket>);

impl FromConnectParts<LocalAdapter> for Incoming {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(Arc::clone(socket)))
    }
}

/// Begins a session. The error is the message of the client's `connect_error`.
async fn connect(gateway: &Arc<Gateway>, socket: &Arc<Socket>, handshake: Handshake) -> Result<(), Fault> {
    let peer = socket.req_parts().extensions.get::<ConnectInfo<Peer>>().map(|info| info.0);
    let address = peer.map(|peer| peer.address.ip().to_string()).unwrap_or_default();
    // A session that was upgraded since has another connection, which is recorded at the upgrade.
    if let Some(peer) = peer.filter(|_| is_websocket(&socket.req_parts().uri)) {
        gateway.transports.record_websocket(peer.connection, socket.id);
    }
    let flow = gateway.transports.flow(&socket.req_parts().extensions);
    // A client that leaves the namespace and enters it again in a loop pays for it, even with its events. The next CONNECT is not
    // read before this one may go on.
    let owed = flow.charge(1);
    if owed > MOST_OWED {
        metrics::refused(Refusal::SocketEvents);
        return Err(Fault::new(Code::RateLimited, "this connection enters the namespace too often"));
    }
    if flow.admit(&gateway.limits, 0, false).is_err() {
        Arc::clone(&flow).readable().await;
    }
    let identity = gateway.identify(handshake.token.as_ref()).await.inspect_err(|fault| {
        // After a connect_error the official client does not try again; after a broken transport it does.
        if fault.code == Code::Unavailable {
            gateway.transports.abandon(socket.id, &flow);
        }
    })?;
    let (conn, transport) = (random_id(), client::transport(socket));
    // One that enters too often is read slowly, and leaves no more than that in the traces.
    let agent = socket.req_parts().extensions.get::<Arc<UserAgent>>().and_then(|agent| agent.take());
    let span = match owed.is_zero() {
        true => rollcall_telemetry::span::socket_connect(conn.as_str(), transport, &address, agent.as_deref()),
        false => Span::none(),
    };
    TraceContext::read(handshake.traceparent.as_deref(), None).link(&span);
    let transports = Arc::clone(&gateway.transports);
    let outlet = Outlet::new(conn.clone(), Arc::downgrade(socket), socket.id, transports, flow);
    let client = Client::new(gateway, conn, outlet, Access::new(identity), TraceContext::of(&span));
    gateway.watch(&client);
    let last = LastReference { client: Arc::clone(&client), transport };
    socket.on_fallback(Events(last));
    let slot = socket.req_parts().extensions.get::<Arc<Slot>>();
    let inside = slot.map(|slot| slot.enter(socket.id));
    socket.on_disconnect(OnDisconnect { client, _inside: inside });
    Ok(())
}

/// 96 random bits in 16 characters.
fn random_id() -> ConnId {
    let mut bytes = [0; 12];
    #[expect(clippy::expect_used, reason = "as std does: without randomness no id is unique")]
    getrandom::fill(&mut bytes).expect("the system provides random numbers");
    ConnId::from(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
