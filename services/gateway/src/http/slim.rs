//! Less memory per socket: engineioxide keeps the handshake as long as the socket lives. Its URI and header values are slices of
//! hyper's read buffer and keep all of it alive (axum's feature `original-uri` would keep another). What a socket needs is
//! copied here, which saved 8 of 28 KiB per idle socket. What the client says of itself is kept until its first span has it.

use std::sync::Arc;

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use parking_lot::Mutex;

use super::gate::{is_socket_io, session_of};

/// The headers that engineioxide reads, the first for a WebSocket, the second for a long poll. hyper has already read its own,
/// and the CORS layer is outside of this one. A map of more than one header is five times as large.
const KEPT: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];

/// How much of a `User-Agent` is kept. Those of browsers have 80 to 150 characters.
const USER_AGENT_BYTES: usize = 256;

/// What a client said of itself in its handshake: an extension of the request.
#[derive(Debug)]
pub(crate) struct UserAgent(Mutex<Option<Box<str>>>);

impl UserAgent {
    /// The first [`USER_AGENT_BYTES`] of the header, if all of it is visible ASCII.
    fn of(headers: &HeaderMap) -> Option<Arc<Self>> {
        let text = headers.get(header::USER_AGENT)?.to_str().ok().filter(|text| !text.is_empty())?;
        Some(Arc::new(Self(Mutex::new(Some(text.get(..USER_AGENT_BYTES).unwrap_or(text).into())))))
    }

    /// Returns it once; afterwards it takes no memory.
    pub(crate) fn take(&self) -> Option<Box<str>> {
        self.0.lock().take()
    }
}

/// Detaches a request for a socket from the buffer that it was read into.
pub(super) async fn slim(mut request: Request) -> Request {
    if !is_socket_io(request.uri()) {
        return request;
    }
    if let Ok(uri) = request.uri().to_string().parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    if session_of(request.uri()).is_none()
        && let Some(agent) = UserAgent::of(request.headers())
    {
        request.extensions_mut().insert(agent);
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn agent(uri: &str, header: &[u8]) -> Option<Box<str>> {
        let request = Request::builder().uri(uri).header(header::USER_AGENT, header).body(Body::empty()).unwrap();
        let request = slim(request).await;
        assert!(!request.headers().contains_key(header::USER_AGENT));
        let agent = request.extensions().get::<Arc<UserAgent>>()?;
        let text = agent.take();
        assert_eq!(agent.take(), None, "it is kept after it was taken");
        text
    }

    #[tokio::test]
    async fn of_a_handshake_the_user_agent_is_kept_up_to_a_bound() {
        let handshake = "/socket.io/?EIO=4&transport=polling";
        assert_eq!(agent(handshake, b"Firefox/150.0").await.as_deref(), Some("Firefox/150.0"));
        assert_eq!(agent(handshake, &[b'x'; 1000]).await.map(|text| text.len()), Some(USER_AGENT_BYTES));
        assert_eq!(agent(handshake, b"caf\xe9").await, None);
        assert_eq!(agent("/socket.io/?EIO=4&transport=polling&sid=a", b"Firefox/150.0").await, None);
    }
}
