//! The limits of one request. The size of its head and the time for it are limited by `server`.

use std::time::Duration;

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use rollcall_telemetry::metrics::Refusal;
use tokio::time::timeout;

use super::{
    gate::{is_socket_io, is_websocket},
    refusals::{address, refuse},
};

/// The longest URI. engineioxide keeps that of the handshake as long as the session lives; a client's own has some hundred bytes.
const URI_BYTES: usize = 2048;
/// The time for the body of a long-polling client's packets, at most 64 KiB.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The version of WebSockets (RFC 6455, 4.4). socketioxide accepts any.
const WEBSOCKET_VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Refuses a long URI and a WebSocket of another version, and gives up a request whose body comes too slowly.
pub(super) async fn limit(mut request: Request, next: Next) -> Response {
    if !is_websocket(request.uri()) {
        // The offer of another protocol. A long-polling session would keep it, and with it the connection of its handshake.
        request.extensions_mut().remove::<OnUpgrade>();
    }
    let uri = request.uri();
    if uri.path_and_query().map_or(0, |uri| uri.as_str().len()) > URI_BYTES {
        return refuse(
            Refusal::RequestHead,
            StatusCode::URI_TOO_LONG,
            "the URI is longer than 2 KiB",
            address(&request),
        );
    }
    if is_socket_io(uri) && is_websocket(uri) && has_other_version(request.headers()) {
        let why = "the version of WebSockets is 13";
        let mut response = refuse(Refusal::RequestHead, StatusCode::UPGRADE_REQUIRED, why, address(&request));
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION);
        response.headers_mut().insert(header::UPGRADE, WEBSOCKET);
        return response;
    }
    // A GET waits for events as long as it has to, and its body is not read.
    if *request.method() == Method::GET || !is_socket_io(uri) {
        return next.run(request).await;
    }
    let client = address(&request);
    match timeout(BODY_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let why = "the body did not come within 10 s";
            refuse(Refusal::RequestBody, StatusCode::REQUEST_TIMEOUT, why, client)
        }
    }
}

/// Whether the headers ask for a WebSocket, and not of version 13.
fn has_other_version(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
        && headers.get(header::SEC_WEBSOCKET_VERSION) != Some(&WEBSOCKET_VERSION)
}
