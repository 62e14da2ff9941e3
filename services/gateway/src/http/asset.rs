//! Files that are part of this program, with the headers that browsers and caches need.

use axum::{
    body::{Body, Bytes},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use ring::digest::{SHA256, digest};

pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub(super) const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
pub(super) const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

/// How much of the hash of a file is its entity tag.
const TAG_BYTES: usize = 12;
const METHODS: &str = "GET, HEAD";

/// A file. Browsers keep it and ask each time whether it is still current: its address stays the same in the next version.
pub(super) struct Asset {
    body: Bytes,
    headers: HeaderMap,
}

impl Asset {
    pub(super) fn new(kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = digest(&SHA256, &body);
        let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..TAG_BYTES]));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
        Self { body, headers }
    }

    /// Adds a header to every answer.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The answer to a request: the file, or that the client has it already.
    pub(super) fn answer(&self, method: &Method, request: &HeaderMap) -> Response {
        if method != Method::GET && method != Method::HEAD {
            return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, METHODS)]).into_response();
        }
        let (status, body) = match self.is_known_to(request) {
            true => (StatusCode::NOT_MODIFIED, Body::empty()),
            // hyper sends no body in answer to HEAD.
            false => (StatusCode::OK, Body::from(self.body.clone())),
        };
        (status, self.headers.clone(), body).into_response()
    }

    /// Whether the client has this version (RFC 9110, 13.1.2). A proxy that compresses makes the tag a weak one.
    fn is_known_to(&self, request: &HeaderMap) -> bool {
        let tag = self.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let lists = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        lists
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|known| known == "*" || Some(known.strip_prefix("W/").unwrap_or(known)) == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(asset: &Asset, method: Method, known: Option<&str>) -> Response {
        let known = known.map(|known| (header::IF_NONE_MATCH, known.parse().unwrap()));
        asset.answer(&method, &known.into_iter().collect())
    }

    #[test]
    fn a_file_is_sent_once_and_again_when_it_changed() {
        let (old, new) = (Asset::new(CSS, "a{}"), Asset::new(CSS, "b{}"));
        let first = ask(&old, Method::GET, None);
        assert_eq!((first.status(), first.headers()[header::CONTENT_LENGTH].as_bytes()), (StatusCode::OK, &b"3"[..]));
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        let tag = first.headers()[header::ETAG].to_str().unwrap();
        for known in [tag, "*", &format!("\"x\", {tag}"), &format!("W/{tag}")] {
            let again = ask(&old, Method::GET, Some(known));
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[header::ETAG], tag);
        }
        assert_eq!(ask(&new, Method::GET, Some(tag)).status(), StatusCode::OK);
    }

    #[test]
    fn it_can_only_be_read() {
        let asset = Asset::new(CSS, "a{}");
        assert_eq!(ask(&asset, Method::HEAD, None).status(), StatusCode::OK);
        let refused = ask(&asset, Method::POST, None);
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(refused.headers()[header::ALLOW], METHODS);
    }
}
