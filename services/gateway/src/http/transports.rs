//! Ends single sessions by their transport. A Socket.IO client that is sent a DISCONNECT does not come back by itself; one whose
//! transport breaks reconnects.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use http::Uri;

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

    fn has_ended(&self, uri: &Uri) -> bool {
        session_of(uri).is_some_and(|session| self.ended().contains(session))
    }

    fn ended(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a request through unless its session has ended, and remembers the connection of one that becomes a WebSocket.
pub(super) async fn follow(State(transports): State<Arc<Transports>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    if is_socket_io(uri) {
        if transports.has_ended(uri) {
            return refusal("this session has ended");
        }
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        if let (Some(session), Some(ConnectInfo(peer)), true) = (session_of(uri), peer, becomes_websocket(uri)) {
            transports.carries(peer.connection, session);
        }
    }
    next.run(request).await
}

fn becomes_websocket(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| pair == "transport=websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_session_that_has_ended_are_refused_until_it_is_gone() {
        let transports = Transports::new(Arc::default());
        let poll = Uri::from_static("/socket.io/?EIO=4&transport=polling&sid=a");
        let other = Uri::from_static("/socket.io/?EIO=4&transport=polling&sid=b");
        transports.end("a");
        assert!(transports.has_ended(&poll) && !transports.has_ended(&other));
        assert!(!transports.has_ended(&Uri::from_static("/socket.io/?EIO=4&transport=polling")));
        transports.forget("a");
        assert!(!transports.has_ended(&poll));
    }
}
