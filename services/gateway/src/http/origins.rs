//! Which web pages may connect. A browser names the page's origin in every WebSocket handshake and every request to another
//! origin, and no page can change it. CORS alone keeps a page from reading answers, not from opening a WebSocket.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rollcall_telemetry::metrics::Refusal;

use super::{
    gate::is_socket_io,
    refusals::{address, refuse},
};

/// The origins that may connect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origins {
    /// Every one.
    Any,
    /// These, compared exactly.
    Named(Vec<HeaderValue>),
}

impl Origins {
    /// Parses `*`, or origins separated by commas.
    ///
    /// # Errors
    /// What is wrong with the first entry that no browser could ever send, and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "*" => Ok(Self::Any),
            text => text.split(',').map(|entry| origin(entry.trim())).collect::<Result<_, _>>().map(Self::Named),
        }
    }

    /// Whether a request may come from where it says. One without an origin does not come from another page.
    fn allow(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => headers.get_all(header::ORIGIN).iter().all(|origin| named.contains(origin)),
        }
    }
}

/// Checks that a browser can send this as an origin: `scheme://host` or `scheme://host:port` (RFC 6454, 6.2).
fn origin(entry: &str) -> Result<HeaderValue, String> {
    let wrong = |what: &str| Err(format!("has `{entry}`, which matches no page: {what}"));
    if entry == "null" {
        return wrong(
            "every sandboxed page and local file has this origin, so it identifies none; name the page's server",
        );
    }
    if entry.contains('*') {
        return wrong("* stands alone or not at all; name each origin");
    }
    if entry.contains(char::is_whitespace) {
        return wrong("origins have no spaces and are separated by commas");
    }
    let Some((scheme, rest)) = entry.split_once("://") else {
        return wrong("it has no scheme; write https://host or http://host:port");
    };
    if let Some(end) = rest.find(['/', '?', '#']) {
        return wrong(&format!("an origin ends with the host or port; write {scheme}://{}", &rest[..end]));
    }
    if entry.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return wrong(&format!("browsers send small letters; write {}", entry.to_ascii_lowercase()));
    }
    let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._[]:".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) || rest.is_empty() || !rest.bytes().all(is_host) {
        return wrong("write scheme://host or scheme://host:port; names in other scripts as punycode (xn--)");
    }
    let host = port(rest).map_or(rest, |port| rest.strip_suffix(port).unwrap_or(rest).trim_end_matches(':'));
    match sent_host(host) {
        Some(sent) if sent == host => {}
        Some(sent) => {
            let end = rest.strip_prefix(host).unwrap_or_default();
            return wrong(&format!("browsers write this address in another way; write {scheme}://{sent}{end}"));
        }
        None => return wrong("its host looks like an address and is none"),
    }
    match port(rest) {
        Some(port) if port.parse::<u16>().map_or(true, |number| number == 0 || number.to_string() != port) => {
            wrong("the port is not a number from 1 to 65535 without leading zeros")
        }
        Some(port) if matches!((scheme, port), ("https" | "wss", "443") | ("http" | "ws", "80")) => {
            wrong(&format!("browsers leave out the scheme's own port; write {scheme}://{host}"))
        }
        _ => HeaderValue::from_str(entry).or_else(|_| wrong("it has a character that a header cannot have")),
    }
}

/// A host as browsers send it, by the URL standard: an IPv6 address in its shortest form and without dots, an IPv4 address as four
/// numbers, and names as they are. `None` for what ends in a number, or has brackets, and is no address.
fn sent_host(host: &str) -> Option<String> {
    if let Some(inside) = host.strip_prefix('[') {
        let address: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        let [.., high, low] = address.segments();
        let mapped = address.to_ipv4_mapped().map(|_| format!("[::ffff:{high:x}:{low:x}]"));
        return Some(mapped.unwrap_or_else(|| format!("[{address}]")));
    }
    if host.contains(['[', ']', ':']) {
        return None;
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { host.parse::<Ipv4Addr>().ok().map(|address| address.to_string()) } else { Some(host.to_owned()) }
}

/// What follows the host and a colon. The colons of an IPv6 address are inside of brackets.
fn port(rest: &str) -> Option<&str> {
    let (_, port) = rest.rsplit_once(':')?;
    if port.contains(']') { None } else { Some(port) }
}

/// Refuses a request for Socket.IO from a page whose origin is not named, on either transport.
pub(super) async fn check(State(origins): State<Arc<Origins>>, request: Request, next: Next) -> Response {
    if is_socket_io(request.uri()) && !origins.allow(request.headers()) {
        return refuse(Refusal::Origin, StatusCode::FORBIDDEN, "this origin is not in CORS_ORIGINS", address(&request));
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_any_or_a_list() {
        assert_eq!(Origins::parse(" * "), Ok(Origins::Any));
        let text = "https://a.example, http://b:3000,capacitor://localhost,http://[::1]:8080,http://[::1],https://xn--bcher-kva.example,\
                    http://10.0.0.1:3000,http://[::ffff:a00:1],https://a.example.:8443,http://a1";
        let Ok(Origins::Named(named)) = Origins::parse(text) else { panic!("{text}") };
        assert_eq!(named.len(), 10);
    }

    #[test]
    fn what_can_never_match_is_refused_with_what_to_write() {
        for (text, advice) in [
            ("", "no scheme"),
            ("a.example", "no scheme"),
            ("https://a.example,", "no scheme"),
            ("https://a.example/", "write https://a.example"),
            ("https://a.example/app?x", "write https://a.example"),
            ("https://*.a.example", "name each origin"),
            ("https://a.example,*", "name each origin"),
            ("https://A.example", "write https://a.example"),
            ("HTTPS://a.example", "write https://a.example"),
            ("https://a.example:443", "write https://a.example"),
            ("http://[::1]:80", "write http://[::1]"),
            ("http://a.example:080", "leading zeros"),
            ("http://a.example:", "port"),
            ("http://a.example:65536", "port"),
            ("https://a example", "commas"),
            ("https://a.example https://b.example", "commas"),
            ("https://ann@a.example", "scheme://host"),
            ("https://bücher.example", "punycode"),
            ("://a", "scheme://host"),
            ("https://", "scheme://host"),
            ("null", "local file"),
            ("http://[::ffff:10.0.0.1]:3000", "write http://[::ffff:a00:1]:3000"),
            ("http://[::ffff:10.0.0.1]", "write http://[::ffff:a00:1]"),
            ("http://[0:0:0:0:0:0:0:1]", "write http://[::1]"),
            ("http://[2001:db8::0:1]:8080", "write http://[2001:db8::1]:8080"),
            ("http://[::1", "is none"),
            ("http://[::g]", "is none"),
            ("http://a]b", "is none"),
            ("http://127.1", "is none"),
            ("http://10.0.0.01:3000", "is none"),
            ("http://10.0.0.256", "is none"),
        ] {
            let problem = Origins::parse(text).unwrap_err();
            assert!(problem.contains(advice), "{text}: {problem}");
        }
    }

    #[test]
    fn an_origin_is_compared_as_a_whole() {
        let origins = Origins::parse("https://a.example,http://b:3000").unwrap();
        let allowed = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ORIGIN, value.parse().unwrap());
            }
            (origins.allow(&headers), Origins::Any.allow(&headers))
        };
        assert_eq!(allowed(&[]), (true, true));
        assert_eq!(allowed(&["https://a.example"]), (true, true));
        for other in
            ["http://a.example", "https://a.example:8443", "https://b.a.example", "https://a.example.evil", "null"]
        {
            assert_eq!(allowed(&[other]), (false, true), "{other}");
        }
        assert_eq!(allowed(&["https://a.example", "https://evil.example"]), (false, true));
    }
}
