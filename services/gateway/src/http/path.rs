//! The path at which clients find Socket.IO. Inside of this module it is always `/socket.io`: every check, limit and header goes by
//! that one, and none can miss what another one counts.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, Uri, uri::PathAndQuery};

use super::gate::{SOCKET_IO, is_socket_io};

/// Paths that the listener serves itself.
const PAGES: [&str; 4] = ["/healthz", "/readyz", "/version", "/playground"];

/// The path that clients use.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SocketIoPath(Arc<str>);

impl SocketIoPath {
    /// Parses a path as clients send it.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("is `{text}`: {what}"));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let Some(segments) = text.strip_prefix('/') else {
            return wrong("a path begins with /, as /socket.io does");
        };
        if segments.is_empty() {
            return wrong("it has to name a path, as /socket.io does");
        }
        if text.ends_with('/') {
            return wrong("leave out the / at the end; clients add it");
        }
        if !text.bytes().all(is_plain) {
            return wrong("a path has letters, digits and - . _ ~ / only, without a query");
        }
        if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return wrong("it has an empty segment, . or .., which no client sends");
        }
        if PAGES.iter().any(|page| text.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        {
            return wrong("the gateway serves a page of its own there");
        }
        Ok(Self(text.into()))
    }

    /// As clients send it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI with `/socket.io` in place of this path; `None` if it has another path.
    fn inside(&self, uri: &Uri) -> Option<Uri> {
        let rest = uri.path().strip_prefix(&*self.0).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(format!("{SOCKET_IO}{rest}{query}")).ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// Gives a request for Socket.IO the path that it has inside. With another path set, that one is not found outside.
pub(super) async fn resolve(State(path): State<SocketIoPath>, mut request: Request, next: Next) -> Response {
    if &*path.0 == SOCKET_IO {
        return next.run(request).await;
    }
    match path.inside(request.uri()) {
        Some(uri) => *request.uri_mut() = uri,
        None if is_socket_io(request.uri()) => return StatusCode::NOT_FOUND.into_response(),
        None => {}
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn_with_state, routing::get};
    use tower::Service as _;

    use super::*;

    #[test]
    fn a_path_is_what_clients_send() {
        for path in ["/socket.io", "/rt/socket.io", "/a", "/health/io", "/~x/v1.2_b-c"] {
            assert!(SocketIoPath::parse(path).is_ok(), "{path}");
        }
        for (path, advice) in [
            ("", "begins with /"),
            ("socket.io", "begins with /"),
            ("https://a.example/socket.io", "begins with /"),
            ("/", "name a path"),
            ("/rt/socket.io/", "at the end"),
            ("/rt?x=1", "without a query"),
            ("/rt#x", "without a query"),
            ("/r t", "letters"),
            ("/%72t", "letters"),
            ("/rt//io", "empty segment"),
            ("/../rt", "empty segment"),
            ("/readyz", "page of its own"),
            ("/playground/main.js", "page of its own"),
        ] {
            let problem = SocketIoPath::parse(path).unwrap_err();
            assert!(problem.contains(advice), "{path}: {problem}");
        }
    }

    async fn inside(path: &str, uri: &str) -> (StatusCode, String) {
        let echo = get(|uri: Uri| async move { uri.to_string() });
        let path = SocketIoPath::parse(path).unwrap();
        // As in `app`, the layer is around the fallback, which routes by the path inside.
        let mut app = Router::new().fallback(echo).layer(from_fn_with_state(path, resolve));
        let response = app.call(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn inside_it_is_always_the_same_path() {
        for (outside, expected) in [
            ("/rt/io/?EIO=4&sid=a", "/socket.io/?EIO=4&sid=a"),
            ("/rt/io?EIO=4", "/socket.io?EIO=4"),
            ("/rt/io/x", "/socket.io/x"),
            ("/rt/iox/?EIO=4", "/rt/iox/?EIO=4"),
            ("/healthz", "/healthz"),
        ] {
            assert_eq!(inside("/rt/io", outside).await, (StatusCode::OK, expected.to_owned()));
        }
        assert_eq!(inside("/rt/io", "/socket.io/?EIO=4").await.0, StatusCode::NOT_FOUND);
        assert_eq!(inside("/socket.io", "/socket.io/?EIO=4").await.1, "/socket.io/?EIO=4");
        assert_eq!(inside("/socket.io/v2", "/socket.io/v2/?EIO=4").await.1, "/socket.io/?EIO=4");
    }
}
