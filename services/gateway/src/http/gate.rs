//! The gate in front of Socket.IO while the gateway stops. It answers with 503, which the official client takes for a
//! connection that failed and retries by itself; a refusal by Socket.IO would end its attempts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, Uri, header};
use service::Shutdown;

/// Open to all; to sessions that have begun, from the moment at which the end was asked for; in the end to nobody.
pub(crate) struct Gate {
    shutdown: Shutdown,
    shut: AtomicBool,
}

impl Gate {
    /// A gate that begins to close with `shutdown`.
    pub(crate) fn new(shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self { shutdown, shut: AtomicBool::new(false) })
    }

    /// Lets nobody in any more.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    fn refuses(&self, uri: &Uri) -> bool {
        if !is_socket_io(uri) {
            return false;
        }
        self.shut.load(Ordering::Acquire) || self.shutdown.is_asked() && session_of(uri).is_none()
    }
}

/// Whether a request is for Socket.IO.
pub(super) fn is_socket_io(uri: &Uri) -> bool {
    uri.path().starts_with("/socket.io")
}

/// The session of a request; none for the first one, which begins it.
pub(super) fn session_of(uri: &Uri) -> Option<&str> {
    uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("sid="))
}

/// An answer that the official client takes for a connection that failed.
pub(super) fn refusal(why: &'static str) -> Response {
    let headers = [(header::RETRY_AFTER, "1"), (header::CONNECTION, "close")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response()
}

/// Lets a request through, or refuses it.
pub(super) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if !gate.refuses(request.uri()) {
        return next.run(request).await;
    }
    refusal("this gateway is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_in_two_steps_and_never_to_the_health_pages() {
        let shutdown = Shutdown::default();
        let gate = Gate::new(shutdown.clone());
        let refused = || {
            let requests = ["/socket.io/?EIO=4", "/socket.io/?EIO=4&sid=a", "/readyz"];
            requests.map(|uri| gate.refuses(&Uri::from_static(uri)))
        };
        assert_eq!(refused(), [false, false, false]);
        shutdown.begin();
        assert_eq!(refused(), [true, false, false]);
        gate.shut();
        assert_eq!(refused(), [true, true, false]);
    }
}
