//! Ends single sessions by closing their transport: a Socket.IO client reconnects when its transport breaks, but not when it
//! receives a DISCONNECT.

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use socketioxide::socket::Sid;

use super::{
    connections::{Open, Peer},
    gate::{is_socket_io, session_of, unavailable},
};

/// Which sessions were ended here, and which connections carry the others.
pub(crate) struct Transports {
    open: Arc<Open>,
    /// The Engine.IO ids of sessions that were ended here and are not gone yet.
    ended: Mutex<HashSet<String>>,
}

impl Transports {
    pub(crate) fn new(open: Arc<Open>) -> Arc<Self> {
        Arc::new(Self { open, ended: Mutex::default() })
    }

    /// Records that a connection is the WebSocket of a session.
    pub(crate) fn record_websocket(&self, connection: u64, session: Sid) {
        self.open.record_websocket(connection, session);
    }

    /// Ends a session: closes its WebSocket and rejects its next poll, until [`forget`](Self::forget) is called.
    pub(crate) fn end(&self, session: &str) {
        self.ended().insert(session.to_owned());
        if let Ok(session) = session.parse() {
            self.open.close_session(session);
        }
    }

    /// The session is gone and needs no entry any more.
    pub(crate) fn forget(&self, session: &str) {
        self.ended().remove(session);
    }

    /// Whether a session was ended and not forgotten.
    pub(super) fn has_ended(&self, session: &str) -> bool {
        self.ended().contains(session)
    }

    fn ended(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ended.lock()
    }
}

/// Rejects a request if its session has ended, and records the connection of one that becomes a WebSocket.
pub(super) async fn track(State(transports): State<Arc<Transports>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let session = session_of(uri).filter(|_| is_socket_io(uri)).map(ToOwned::to_owned);
    let Some(session) = session else { return next.run(request).await };
    if transports.has_ended(&session) {
        return unavailable("this session has ended");
    }
    let connection = request.extensions().get::<ConnectInfo<Peer>>().map(|peer| peer.0.connection);
    let response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let (Some(connection), Ok(session)) = (connection, session.parse())
    {
        transports.record_websocket(connection, session);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_an_ended_session_are_rejected_until_it_is_gone() {
        let transports = Transports::new(Arc::default());
        transports.end("a");
        assert!(transports.has_ended("a") && !transports.has_ended("b"));
        transports.forget("a");
        assert!(!transports.has_ended("a"));
    }
}
