//! Ends single sessions by closing their transport: a Socket.IO client reconnects when its transport breaks, but not when it
//! receives a DISCONNECT. Here each session also gets its [`Flow`], at its handshake, and each of its connections learns it.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures_util::TryStreamExt as _;
use http::{Extensions, Method, StatusCode, header};
use parking_lot::{Mutex, MutexGuard};
use socketioxide::{layer::SocketIoLayer, socket::Sid};
use tower::Service as _;

use super::{
    affinity,
    connections::{Open, Peer},
    flows::Flows,
    gate::{SOCKET_IO, is_socket_io, is_websocket, session_of, unavailable},
};
use crate::flow::{Flow, backlog::Backlog, outward::Answer};

/// Which sessions were ended here, and which connections carry the others.
pub(crate) struct Transports {
    open: Arc<Open>,
    /// The Engine.IO ids of sessions that were ended here and are not gone yet.
    ended: Mutex<HashSet<String>>,
    backlog: Arc<Backlog>,
    /// The flows of sessions that began with long polling.
    flows: Mutex<Flows>,
    /// The Socket.IO server.
    engine: OnceLock<Router>,
}

impl Transports {
    pub(crate) fn new(open: Arc<Open>, backlog: Arc<Backlog>) -> Arc<Self> {
        Arc::new(Self { open, ended: Mutex::default(), backlog, flows: Mutex::default(), engine: OnceLock::new() })
    }

    /// Sets the Socket.IO server, which closes long-polling sessions.
    pub(super) fn set_engine(&self, layer: SocketIoLayer) {
        let _ = self.engine.set(Router::new().layer(layer));
    }

    /// Records that a connection is the WebSocket of a session.
    pub(crate) fn record_websocket(&self, connection: u64, session: Sid) {
        self.open.record_websocket(connection, session);
    }

    /// The flow of the session whose handshake had these extensions.
    pub(crate) fn flow(&self, handshake: &Extensions) -> Arc<Flow> {
        handshake.get::<Arc<Flow>>().map_or_else(|| Flow::new(&self.backlog), Arc::clone)
    }

    /// Ends a session: closes its WebSocket and rejects its next poll, until [`forget`](Self::forget) is called.
    pub(crate) fn end(&self, session: &str) {
        self.ended().insert(session.to_owned());
        if let Ok(session) = session.parse() {
            self.open.close_session(session);
        }
        self.close_polling(session);
    }

    /// Closes a session that polls, as its client would: it has no connection that could be closed, and would keep what waits for it
    /// until its next ping. The server refuses this for a session with a WebSocket.
    fn close_polling(&self, session: &str) {
        let uri = format!("{SOCKET_IO}/?EIO=4&transport=polling&sid={session}");
        if let (Some(mut engine), Ok(request)) = (self.engine.get().cloned(), Request::post(uri).body(Body::from("1")))
        {
            tokio::spawn(async move { drop(engine.call(request).await) });
        }
    }

    /// Closes the transport of a session that entered no namespace.
    pub(crate) fn abandon(&self, session: Sid, flow: &Flow) {
        flow.end();
        self.open.close_session(session);
        self.close_polling(session.as_str());
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

/// Rejects a request if its session has ended. Gives a session that begins its flow, and a request that carries messages has to
/// wait while its session pauses.
pub(super) async fn track(State(transports): State<Arc<Transports>>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    if !is_socket_io(uri) {
        return next.run(request).await;
    }
    match session_of(uri).map(ToOwned::to_owned) {
        Some(session) => transports.go_on(&session, request, next).await,
        None => transports.begin(request, next).await,
    }
}

impl Transports {
    async fn begin(&self, mut request: Request, next: Next) -> Response {
        let flow = Flow::new(&self.backlog);
        request.extensions_mut().insert(Arc::clone(&flow));
        let connection = connection(&request);
        let response = next.run(request).await;
        if let (Some(connection), StatusCode::SWITCHING_PROTOCOLS) = (connection, response.status()) {
            self.open.carry(connection, flow);
        } else if let Some(session) = affinity::session_header(&response) {
            self.flows.lock().insert(session, Arc::downgrade(&flow));
        }
        response
    }

    async fn go_on(&self, session: &str, request: Request, next: Next) -> Response {
        let flow = self.flows.lock().get(session);
        // Only a session that polls can be upgraded, and each of those is known. engineioxide would answer 101 and look then.
        if flow.is_none() && is_websocket(request.uri()) {
            return unknown();
        }
        let polls = request.method() == Method::GET;
        if let Some(flow) = flow.as_ref().filter(|_| !polls) {
            Arc::clone(flow).readable().await;
        }
        // The flow knows it as long as the session exists: a DISCONNECT that waits in it must not be delivered.
        if self.has_ended(session) || flow.as_ref().is_some_and(|flow| flow.has_ended()) {
            return unavailable("this session has ended");
        }
        let connection = connection(&request);
        let response = next.run(request).await;
        let Some(flow) = flow else { return response };
        // A poll that waited while its session was ended has the DISCONNECT, after which the official client stays away.
        if polls && flow.has_ended() {
            return unavailable("this session has ended");
        }
        match (connection, response.status()) {
            (Some(connection), StatusCode::SWITCHING_PROTOCOLS) => {
                if let Ok(session) = session.parse() {
                    self.record_websocket(connection, session);
                }
                self.open.carry(connection, flow);
                response
            }
            (_, StatusCode::OK) if polls => counted(response, flow),
            _ => response,
        }
    }
}

/// What Engine.IO answers to a request that names no session.
fn unknown() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, kind, r#"{"code":"1","message":"Session ID unknown"}"#).into_response()
}

fn connection(request: &Request) -> Option<u64> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|peer| peer.0.connection)
}

/// Counts the answer of a poll as taken by the client when it was written.
fn counted(response: Response, flow: Arc<Flow>) -> Response {
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map_ok(move |bytes| Answer::counted(bytes, Arc::clone(&flow))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_an_ended_session_are_rejected_until_it_is_gone() {
        let transports = Transports::new(Arc::default(), Backlog::new(0));
        transports.end("a");
        assert!(transports.has_ended("a") && !transports.has_ended("b"));
        transports.forget("a");
        assert!(!transports.has_ended("a"));
    }
}
