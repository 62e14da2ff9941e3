//! The gate in front of Socket.IO while the gateway stops. It answers 503: to the official client that is a failed connection,
//! which it retries by itself. A rejection by Socket.IO would end its attempts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, Uri, header};
use rollcall_service::Shutdown;

/// The path of Socket.IO behind `path`, which gives it to requests.
pub(super) const SOCKET_IO: &str = "/socket.io";

/// Open to everyone; once a shutdown was requested only to existing sessions; once shut to no one.
pub(crate) struct Gate {
    shutdown: Shutdown,
    shut: AtomicBool,
}

impl Gate {
    /// A gate that begins to close with `shutdown`.
    pub(crate) fn new(shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self { shutdown, shut: AtomicBool::new(false) })
    }

    /// Rejects every request for Socket.IO from now on.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    fn rejects(&self, uri: &Uri) -> bool {
        if !is_socket_io(uri) {
            return false;
        }
        self.shut.load(Ordering::Acquire) || self.shutdown.is_asked() && session_of(uri).is_none()
    }
}

/// Whether a request is for Socket.IO.
pub(super) fn is_socket_io(uri: &Uri) -> bool {
    uri.path().starts_with(SOCKET_IO)
}

/// The session of a request; `None` for the first request, which begins it.
pub(super) fn session_of(uri: &Uri) -> Option<&str> {
    parameter(uri, "sid=")
}

/// Whether a request is of the WebSocket transport.
pub(crate) fn is_websocket(uri: &Uri) -> bool {
    transport(uri) == Some("websocket")
}

/// Whether a request is of the long-polling transport.
pub(super) fn is_polling(uri: &Uri) -> bool {
    transport(uri) == Some("polling")
}

/// The transport as engineioxide reads it: of the first such parameter, up to another `=`.
fn transport(uri: &Uri) -> Option<&str> {
    parameter(uri, "transport=")?.split('=').next()
}

/// The value of a parameter of the query; `name` ends with `=`.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix(name))
}

/// A 503, which is a failed connection to the official client.
pub(super) fn unavailable(why: &'static str) -> Response {
    let headers = [(header::RETRY_AFTER, "1"), (header::CONNECTION, "close")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response()
}

/// Lets a request pass, or rejects it.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if gate.rejects(request.uri()) {
        return unavailable("this gateway is stopping");
    }
    let mut response = next.run(request).await;
    // Connections are being closed: no client may send its next request on this one.
    if gate.shutdown.is_asked() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken for no request of a transport here, and for one there, would escape the checks of that transport.
    #[test]
    fn a_transport_is_read_as_engineioxide_reads_it() {
        for (query, expected) in [
            ("EIO=4&transport=websocket", [true, false]),
            ("transport=websocket=x&EIO=4", [true, false]),
            ("transport=polling&transport=websocket", [false, true]),
            ("transport=polling=&EIO=4", [false, true]),
            ("xtransport=websocket", [false, false]),
            ("", [false, false]),
        ] {
            let uri: Uri = format!("/socket.io/?{query}").parse().unwrap();
            assert_eq!([is_websocket(&uri), is_polling(&uri)], expected, "{query}");
        }
    }

    #[test]
    fn it_closes_in_two_steps_and_never_to_the_health_pages() {
        let shutdown = Shutdown::default();
        let gate = Gate::new(shutdown.clone());
        let rejected = || {
            let requests = ["/socket.io/?EIO=4", "/socket.io/?EIO=4&sid=a", "/readyz"];
            requests.map(|uri| gate.rejects(&Uri::from_static(uri)))
        };
        assert_eq!(rejected(), [false, false, false]);
        shutdown.begin();
        assert_eq!(rejected(), [true, false, false]);
        gate.shut();
        assert_eq!(rejected(), [true, true, false]);
    }
}
