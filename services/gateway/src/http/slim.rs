//! Memory: engineioxide keeps the parts of the handshake as long as the socket lives. Its URI and header values are
//! slices of hyper's read buffer, which they keep alive whole (axum's feature `original-uri` would keep one more). What a
//! socket needs is copied out here; that saved 7 of 28 KiB for each idle socket.

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// What the handshake, the transports and telemetry read; everything else is dropped.
const KEPT: [HeaderName; 10] = [
    header::HOST,
    header::ORIGIN,
    header::UPGRADE,
    header::CONNECTION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_PROTOCOL,
];

/// Detaches a request for a socket from the buffer that it was read into.
pub(super) async fn slim(mut request: Request) -> Request {
    if !request.uri().path().starts_with("/socket.io") {
        return request;
    }
    if let Ok(uri) = request.uri().to_string().parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    let mut headers = HeaderMap::with_capacity(KEPT.len());
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
