//! Sockets: how they come, what their events do, how they go.

mod acquire;
pub(crate) mod answer;
mod events;
mod held;
mod locks;
mod member;
mod metadata;
mod presence;
pub(crate) mod session;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::extract::ConnectInfo;
use bus::Bus;
use serde::Deserialize;
use socketioxide::{
    ParserConfig, SocketIo, TransportType,
    adapter::LocalAdapter,
    extract::{SocketRef, TryData},
    handler::{ConnectHandler as _, FromConnectParts, Value},
    layer::SocketIoLayer,
    socket::{DisconnectReason, Socket},
};
use telemetry::{
    metrics::{self, Reading},
    propagation::TraceContext,
};

use crate::{
    config::Pings,
    http::{connections::Peer, transports::Transports},
    liveness::Liveness,
    pending_leaves::PendingLeaves,
    reassert::Reassert,
    relay::Relay,
    socket::session::Session,
};

/// The largest message of a client.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Packets that may wait for a slow reader, up to 8.5 MiB with the largest states. The blocks of the queue are allocated
/// as they are used, so an idle socket does not pay.
const MAX_WAITING_PACKETS: usize = 512;
/// Two frames of a heartbeat fit; with the default of 4 KiB an idle socket holds 3.5 KiB more.
const READ_BUFFER_BYTES: usize = 512;

/// What sessions share.
pub(crate) struct Gateway {
    pub(crate) bus: Arc<Bus>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) reassert: Arc<Reassert>,
    pub(crate) liveness: Arc<Liveness<Session>>,
    pub(crate) pending_leaves: Arc<PendingLeaves>,
    pub(crate) transports: Arc<Transports>,
    /// Sessions whose end is not yet carried out.
    pub(crate) sessions: AtomicUsize,
    /// Locks that they hold, and locks that they wait for.
    held: AtomicUsize,
    waiting: AtomicUsize,
}

impl Gateway {
    pub(crate) fn new(
        bus: Arc<Bus>,
        relay: Arc<Relay>,
        reassert: Arc<Reassert>,
        liveness: Arc<Liveness<Session>>,
        pending_leaves: Arc<PendingLeaves>,
        transports: Arc<Transports>,
    ) -> Self {
        Self {
            bus,
            relay,
            reassert,
            liveness,
            pending_leaves,
            transports,
            sessions: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Has metrics look at the sockets.
    pub(crate) fn register_metrics(self: &Arc<Self>) {
        let register = |reading, see: fn(&Self) -> &AtomicUsize| {
            let gateway = Arc::clone(self);
            metrics::observe(reading, move || Some(see(&gateway).load(Ordering::Relaxed) as f64));
        };
        metrics::begin_gateway();
        register(Reading::ConnectionsActive, |gateway| &gateway.sessions);
        register(Reading::LocksHeld, |gateway| &gateway.held);
        register(Reading::LocksWaiting, |gateway| &gateway.waiting);
    }

    /// A session's locks, those it holds and those it waits for, were so many `before` and are so many `after`.
    fn count_locks(&self, before: (usize, usize), after: (usize, usize)) {
        // Wrapping, as atomics do: the sum over all sessions is right whatever their order.
        self.held.fetch_add(after.0.wrapping_sub(before.0), Ordering::Relaxed);
        self.waiting.fetch_add(after.1.wrapping_sub(before.1), Ordering::Relaxed);
    }
}

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
        // A binary attachment is never valid; one is let through so that its sender can be told.
        .with_parser(ParserConfig::common().max_incoming_binaries(1).max_incoming_binary_buf_size(MAX_MESSAGE_BYTES))
        .build_layer();
    // The session begins in the middleware: socketioxide runs the connect handler after the client was told that it is
    // connected, and an event that came before would find nobody.
    let begin = move |Incoming(socket): Incoming, auth: TryData<Auth>| {
        connect(&gateway, &socket, auth.0.ok());
        async { Ok::<_, Infallible>(()) }
    };
    io.ns("/", (async |_: SocketRef| {}).with(begin));
    (layer, io)
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

/// What a client may say when it connects. It is never logged.
#[derive(Deserialize)]
struct Auth {
    /// The trace that the application's own operation belongs to.
    traceparent: Option<String>,
}

/// The socket itself: sessions hold it weakly, and socketioxide's own extractor cannot be weakened.
struct Incoming(Arc<Socket>);

impl FromConnectParts<LocalAdapter> for Incoming {
    type Error = Infallible;

    fn from_connect_parts(socket: &Arc<Socket>, _: &Option<Value>) -> Result<Self, Infallible> {
        Ok(Self(Arc::clone(socket)))
    }
}

fn connect(gateway: &Arc<Gateway>, socket: &Arc<Socket>, auth: Option<Auth>) {
    let peer = socket.req_parts().extensions.get::<ConnectInfo<Peer>>().map(|info| info.0);
    let address = peer.map(|peer| peer.address.ip().to_string()).unwrap_or_default();
    if let Some(peer) = peer.filter(|_| socket.transport_type() == TransportType::Websocket) {
        gateway.transports.carries(peer.connection, socket.id.as_str());
    }
    let conn = session::random_id();
    let span = telemetry::span::socket_connect(conn.as_str(), session::transport(socket), &address);
    let clients = auth.and_then(|auth| auth.traceparent);
    TraceContext::read(clients.as_deref(), None).link(&span);
    let session = Session::new(Arc::clone(gateway), conn, socket, TraceContext::of(&span));
    gateway.liveness.watch(&session);
    gateway.sessions.fetch_add(1, Ordering::AcqRel);
    socket.on_fallback(events::Events(Arc::clone(&session)));
    socket.on_disconnect(async move |socket: SocketRef, reason: DisconnectReason| {
        session.gateway.transports.forget(socket.id.as_str());
        session.closed(session::transport(&socket), name(reason));
    });
}
