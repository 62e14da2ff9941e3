//! Long polling behind a load balancer: every request of a session has to reach the gateway that began it. The session id is in
//! the query of every request but the first, whose answer has it in the body, which a load balancer cannot read. So the answer
//! has it in a header too, and a load balancer that learns from it needs no cookie.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, StatusCode},
    middleware::Next,
    response::Response,
};

use super::gate::{is_polling, is_socket_io, session_of};

/// The header that a load balancer learns from.
const SESSION: &str = "x-engine-sid";
/// More than an opening packet, which has some hundred bytes.
const OPENING_BYTES: usize = 4096;

/// Adds the header to the answer that begins a long-polling session.
pub(super) async fn add_session_header(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let opens = is_polling(uri) && is_socket_io(uri) && session_of(uri).is_none();
    let response = next.run(request).await;
    if !opens || response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, OPENING_BYTES).await else {
        return Response::from_parts(head, Body::empty());
    };
    if let Some(value) = session(&bytes).and_then(|sid| HeaderValue::from_bytes(sid).ok()) {
        head.headers.insert(SESSION, value);
    }
    Response::from_parts(head, Body::from(bytes))
}

/// The session that a response begins.
pub(super) fn session_header(response: &Response) -> Option<&str> {
    response.headers().get(SESSION)?.to_str().ok()
}

/// The id in an opening packet, `0{"sid":"…",…}`.
fn session(packet: &[u8]) -> Option<&[u8]> {
    let id = packet.strip_prefix(b"0{\"sid\":\"")?;
    Some(&id[..id.iter().position(|byte| *byte == b'"')?])
}

#[cfg(test)]
mod tests {
    use super::session;

    #[test]
    fn only_an_opening_packet_has_an_id() {
        assert_eq!(session(b"0{\"sid\":\"AAAx-_1\",\"upgrades\":[]}"), Some(&b"AAAx-_1"[..]));
        assert_eq!(session(b"40{\"sid\":\"b\"}"), None);
        assert_eq!(session(b"0{\"sid\":\"cut"), None);
    }
}
