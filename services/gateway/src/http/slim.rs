//! Less memory per socket: engineioxide keeps the handshake as long as the socket lives. Its URI and header values are slices of
//! hyper's read buffer and keep all of it alive (axum's feature `original-uri` would keep another). What a socket needs is
//! copied here, which saved 8 of 28 KiB per idle socket.

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::gate::is_socket_io;

/// The headers that engineioxide reads, the first for a WebSocket, the second for a long poll. hyper has already read its own,
/// and the CORS layer is outside of this one. A map of more than one header is five times as large.
const KEPT: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];

/// Detaches a request for a socket from the buffer that it was read into.
pub(super) async fn slim(mut request: Request) -> Request {
    if !is_socket_io(request.uri()) {
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
