//! Memory: engineioxide keeps the parts of the handshake as long as the socket lives. Its URI and header values are
//! slices of hyper's read buffer, which they keep alive whole (axum's feature `original-uri` would keep one more). What a
//! socket needs is copied out here; that saved 8 of 28 KiB for each idle socket.

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// What engineioxide reads: one for a WebSocket, the other for a long poll. hyper has taken what concerns itself, and the
/// CORS layer stands outside. The map that holds more headers than one is five times as large.
const KEPT: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];

/// Detaches a request for a socket from the buffer that it was read into.
pub(super) async fn slim(mut request: Request) -> Request {
    if !request.uri().path().starts_with("/socket.io") {
        return request;
    }
    if let Ok(uri) = request.uri().to_string().parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    let mut headers = HeaderMap::with_capacity(1);
    for name in KEPT {
        if let Some(value) = request.headers().get(&name)
            && let Ok(copy) = HeaderValue::from_bytes(value.as_bytes())
        {
            headers.insert(name, copy);
        }
    }
    *request.headers_mut() = headers;
    request
}
