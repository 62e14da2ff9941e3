//! The page at `/` for those who try Rollcall (`PLAYGROUND=on`). All of it is part of this program, and its content security policy
//! lets it load nothing else.

use std::{future::ready, sync::Arc};

use axum::{Router, routing::any};
use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::{
    asset::{Asset, CSS, HTML, JAVASCRIPT},
    path::SocketIoPath,
};
use crate::{auth, liveness::Mode};

/// What the page may do: run its own scripts, none of which can turn a text into markup, and connect to where it is from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const OFF: &str = "This is a Rollcall gateway, for Socket.IO clients. There is no page here unless PLAYGROUND=on.\n";

/// A script of the page by its name.
macro_rules! script {
    ($name:literal) => {
        (concat!("/playground/", $name), include_str!(concat!("../../playground/", $name)))
    };
}

const SCRIPTS: [(&str, &str); 8] = [
    script!("connection.js"),
    script!("counter.js"),
    script!("dom.js"),
    script!("feed.js"),
    script!("lock.js"),
    script!("main.js"),
    script!("members.js"),
    script!("traces.js"),
];

/// What the page knows of its gateway.
pub(crate) struct Page {
    has_tokens: bool,
    /// How often it has to send a heartbeat, in ms; 0 for never.
    beat_ms: u128,
    path: SocketIoPath,
    traces: String,
}

impl Page {
    /// `traces`: the address of Jaeger's pages, or nothing.
    pub(crate) fn new(auth: &auth::Config, liveness: Mode, path: SocketIoPath, traces: String) -> Self {
        let beat_ms = match liveness {
            Mode::Transport => 0,
            Mode::Heartbeat(ttl) => ttl.as_millis() / 3,
        };
        Self { has_tokens: matches!(auth, auth::Config::Jwt(_)), beat_ms, path, traces }
    }

    fn html(&self) -> String {
        let auth = if self.has_tokens { "jwt" } else { "off" };
        let beat_ms = self.beat_ms.to_string();
        let values =
            [("{auth}", auth), ("{beat_ms}", &beat_ms), ("{traces}", &self.traces), ("{path}", self.path.as_str())];
        let page = include_str!("../../playground/index.html").to_owned();
        values.into_iter().fold(page, |page, (name, value)| page.replace(name, &escape(value)))
    }
}

/// Parses `playground_traces`: nothing, or the address of a web page without a query.
pub(crate) fn parse_traces(text: &str) -> Result<String, ()> {
    let address = text.trim().trim_end_matches('/');
    let uri: Uri = if address.is_empty() { return Ok(String::new()) } else { address.parse().map_err(|_| ())? };
    match (uri.scheme_str(), uri.query()) {
        (Some("http" | "https"), None) if !address.contains('#') => Ok(address.to_owned()),
        _ => Err(()),
    }
}

/// As the value of an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The routes of the page; without one, `/` tells people where they are.
pub(super) fn router(page: Option<&Page>) -> Router {
    let Some(page) = page else { return Router::new().route("/", any(async || (StatusCode::NOT_FOUND, OFF))) };
    let html = Asset::new(HTML, page.html())
        .with(header::CONTENT_SECURITY_POLICY, POLICY)
        .with(header::REFERRER_POLICY, "no-referrer");
    let style = Asset::new(CSS, include_str!("../../playground/style.css"));
    let scripts = SCRIPTS.map(|(path, text)| (path, Asset::new(JAVASCRIPT, text)));
    let mut router = Router::new();
    for (path, asset) in [("/", html), ("/playground/style.css", style)].into_iter().chain(scripts) {
        let asset = Arc::new(asset);
        router =
            router.route(path, any(move |method: Method, headers: HeaderMap| ready(asset.answer(&method, &headers))));
    }
    router
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use http_body_util::BodyExt as _;
    use tower::Service as _;

    use super::*;

    fn page(traces: &str) -> Page {
        Page { has_tokens: false, beat_ms: 0, path: SocketIoPath::parse("/rt/io").unwrap(), traces: traces.to_owned() }
    }

    async fn get(page: Option<&Page>, path: &str) -> (StatusCode, HeaderMap, String) {
        let response = router(page).call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn everything_that_the_page_loads_is_here() {
        let (status, headers, html) = get(Some(&page("")), "/").await;
        assert_eq!((status, &headers[header::CONTENT_TYPE]), (StatusCode::OK, &HTML));
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
        assert!(html.contains("src=\"/rt/io/socket.io.js\"") && !html.contains('{'), "{html}");
        let own = html.split('"').filter(|text| text.starts_with("/playground/"));
        let imported = SCRIPTS.iter().flat_map(|(_, text)| text.split('\'').filter(|text| text.starts_with("./")));
        let mut paths: Vec<_> = own.map(ToOwned::to_owned).collect();
        paths.extend(imported.map(|name| name.replacen("./", "/playground/", 1)));
        assert!(paths.len() > SCRIPTS.len(), "{paths:?}");
        for path in paths {
            assert_eq!(get(Some(&page("")), &path).await.0, StatusCode::OK, "{path}");
        }
    }

    #[tokio::test]
    async fn without_it_a_person_reads_what_this_is() {
        let (status, _, text) = get(None, "/").await;
        assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, OFF));
        assert_eq!(get(None, "/playground/main.js").await.0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_policy_allows_nothing_that_is_inline_or_from_elsewhere() {
        for source in ["unsafe", "http", "*", "blob:"] {
            assert!(!POLICY.contains(source), "{source}");
        }
        assert!(!page("").html().contains("style=") && !page("").html().contains("<script>"));
    }

    #[test]
    fn settings_are_attributes_whatever_they_contain() {
        assert!(page("http://a/\"><b>&").html().contains(" data-traces=\"http://a/&quot;>&lt;b>&amp;\""));
        assert!(page("").html().contains(" data-auth=\"off\""));
        let with_tokens = Page { has_tokens: true, beat_ms: 1000, ..page("") }.html();
        assert!(with_tokens.contains(" data-auth=\"jwt\"") && with_tokens.contains(" data-beat-ms=\"1000\""));
    }

    #[test]
    fn traces_are_at_an_address_or_nowhere() {
        assert_eq!(parse_traces(""), Ok(String::new()));
        assert_eq!(parse_traces("http://127.0.0.1:16686/"), Ok("http://127.0.0.1:16686".to_owned()));
        assert_eq!(parse_traces("https://jaeger.example/ui"), Ok("https://jaeger.example/ui".to_owned()));
        for wrong in
            ["127.0.0.1:16686", "jaeger", "javascript:alert(1)", "ftp://a", "http://a/?b", "http://a/#b", "http://"]
        {
            assert_eq!(parse_traces(wrong), Err(()), "{wrong}");
        }
    }
}
