//! The official client for browsers, served as every Socket.IO server serves it. A request for it begins no session, so it is
//! answered before sessions and handshakes are counted, and before engineioxide, which owns every other path below this one.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::Uri;

use super::{
    asset::{Asset, JAVASCRIPT},
    gate::SOCKET_IO,
};

/// The file by both of its names: the readable variant that a Node.js server has at the first one is three times as large.
const NAMES: [&str; 2] = ["/socket.io.js", "/socket.io.min.js"];

/// Begins with the notice that its license asks for.
pub(super) fn asset() -> Arc<Asset> {
    Arc::new(Asset::new(JAVASCRIPT, &include_bytes!("../../assets/socket.io.min.js")[..]))
}

/// Answers a request for the bundle.
pub(super) async fn serve(State(bundle): State<Arc<Asset>>, request: Request, next: Next) -> Response {
    match is_bundle(request.uri()) {
        true => bundle.answer(request.method(), request.headers()),
        false => next.run(request).await,
    }
}

fn is_bundle(uri: &Uri) -> bool {
    uri.path().strip_prefix(SOCKET_IO).is_some_and(|name| NAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bundle_is_left_to_socket_io() {
        let is_bundle = |path: &'static str| is_bundle(&Uri::from_static(path));
        assert!(is_bundle("/socket.io/socket.io.js") && is_bundle("/socket.io/socket.io.min.js?v=4"));
        for path in ["/socket.io/", "/socket.io/?EIO=4", "/socket.io/socket.io.js/", "/socket.io.js", "/x/socket.io.js"]
        {
            assert!(!is_bundle(path), "{path}");
        }
    }
}
