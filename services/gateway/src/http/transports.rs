//! Ends single sessions by their transport. A Socket.IO client that is sent a DISCONNECT does not come back by itself; one whose
//! transport breaks reconnects.

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};

use super::{
    connections::{Open, Peer},
    gate::{is_socket_io, refusal, session_of},
};

/// Which sessions have ended, and which connections carry the others.
pub(crate) struct Transports {
    open: Arc<Open>,
    /// Engine.IO ids of sessions that were ended here and are not gone yet.
    ended: Mutex<HashSet<String>>,
}

impl Transports {
    pub(crate) fn new(open: Arc<Open>) -> Arc<Self> {
        Arc::new(Self { open, ended: Mutex::default() })
    }

    /// The connection is the WebSocket of a session.
    pub(crate) fn carries(&self, connection: u64, session: &str) {
        self.open.carries(connection, session);
    }

    /// Ends a session: its WebSocket is closed, and its next poll is refused. [`forget`](Self::forget) follows.
    pub(crate) fn end(&self, session: &str) {
        self.ended().insert(session.to_owned());
        self.open.close_session(session);
    }

    /// The session is gone.
    pub(crate) fn forget(&self, session: &str) {
        self.ended().remove(session);
    }

    fn has_ended(&self, session: &str) -> bool {
        self.ended().contains(session)
    }

    fn ended(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ended.lock()
    }
}

/// Lets a request through unless its session has ended, and remembers the connection of one that becomes a WebSocket.
pub(super) async fn follow(State(transports): State<Arc<Transports>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let session = session_of(uri).filter(|_| is_socket_io(uri)).map(ToOwned::to_owned);
    let Some(session) = session else { return next.run(request).await };
    if transports.has_ended(&session) {
        return refusal("this session has ended");
    }
    let connection = request.extensions().get::<ConnectInfo<Peer>>().map(|peer| peer.0.connection);
    let response = next.run(request).await;
    if let (Some(connection), StatusCode::SWITCHING_PROTOCOLS) = (connection, response.status()) {
        transports.carries(connection, &session);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_session_that_has_ended_are_refused_until_it_is_gone() {
        let transports = Transports::new(Arc::default());
        transports.end("a");
        assert!(transports.has_ended("a") && !transports.has_ended("b"));
        transports.forget("a");
        assert!(!transports.has_ended("a"));
    }
}
