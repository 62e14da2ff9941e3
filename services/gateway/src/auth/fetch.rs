//! One GET of a small text. A client of its own on hyper: what it must not do (redirects, cookies, proxies, large answers) it
//! cannot do. reqwest, which the telemetry has, is not used (docs/internals/libraries.md, J5).

use std::{fmt, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures_util::future::join;
use http::{Request, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// How long a fetch may take, from the look-up of the name to the last byte.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer.
const MAX_BYTES: usize = 256 * 1024;

/// Where a GET goes.
pub(super) struct Endpoint {
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    path: Box<str>,
    /// `None`: plain HTTP, on this machine only.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why a GET failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FetchError {
    Connect,
    Tls,
    Http,
    /// Any but 200. A redirect would leave the host that the operator named.
    Status(u16),
    TooLarge,
    Timeout,
    /// The answer is no JWK set.
    NoJwkSet,
    /// The set has no key that can be used.
    NoKey,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("cannot connect"),
            Self::Tls => f.write_str("TLS failed; is the certificate one that this system trusts?"),
            Self::Http => f.write_str("the answer is not HTTP/1.1, or ended too early"),
            Self::Status(status) => write!(f, "answered with status {status}, not 200"),
            Self::TooLarge => write!(f, "the answer is larger than {MAX_BYTES} bytes"),
            Self::Timeout => write!(f, "no whole answer within {} s", FETCH_TIMEOUT.as_secs()),
            Self::NoJwkSet => f.write_str("the answer is not a JWK set"),
            Self::NoKey => f.write_str("the JWK set has no key that can be used"),
        }
    }
}

impl Endpoint {
    /// An `https` URL, or an `http` one of this machine. A user name in it is refused.
    pub(super) fn parse(url: &str) -> Result<Self, ()> {
        Self::with_roots(url, system_roots)
    }

    fn with_roots(url: &str, roots: impl FnOnce() -> RootCertStore) -> Result<Self, ()> {
        let url: Uri = url.parse().map_err(drop)?;
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let (tls, port) = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => (Some(tls(host, roots())?), 443),
            Some(scheme) if *scheme == Scheme::HTTP && is_loopback(host) => (None, 80),
            _ => return Err(()),
        };
        Ok(Self {
            host: host.into(),
            port: authority.port_u16().unwrap_or(port),
            authority: authority.as_str().into(),
            path: url.path_and_query().map_or("/", |path| path.as_str()).into(),
            tls,
        })
    }

    /// The text at the URL.
    pub(super) async fn fetch(&self) -> Result<String, FetchError> {
        timeout(FETCH_TIMEOUT, self.connect_and_get()).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn connect_and_get(&self) -> Result<String, FetchError> {
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(|_| FetchError::Connect)?;
        match &self.tls {
            None => self.get(stream).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(|_| FetchError::Tls)?;
                self.get(stream).await
            }
        }
    }

    async fn get(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String, FetchError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::Http)?;
        let request = Request::get(&*self.path)
            .header(header::HOST, &*self.authority)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "rollcall")
            .body(Empty::<Bytes>::new())
            .map_err(|_| FetchError::Http)?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|_| FetchError::Http)?;
            if response.status() != http::StatusCode::OK {
                return Err(FetchError::Status(response.status().as_u16()));
            }
            let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            let body =
                body.map_err(|error| if error.is::<hyper::Error>() { FetchError::Http } else { FetchError::TooLarge })?;
            String::from_utf8(body.to_bytes().into()).map_err(|_| FetchError::NoJwkSet)
        };
        // The connection ends with the sender, which the answer owns.
        join(answer, connection).await.0
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What the system trusts (or `SSL_CERT_FILE`), as for Redis.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn tls(host: &str, roots: RootCertStore) -> Result<(TlsConnector, ServerName<'static>), ()> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(drop)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), ServerName::try_from(host.to_owned()).map_err(drop)?))
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    };

    use super::*;
    use crate::auth::testing::server::{Answer, Server};

    async fn fetched(answer: Answer) -> Result<String, FetchError> {
        let server = Server::start(answer).await;
        Endpoint::parse(&server.url()).unwrap().fetch().await
    }

    #[tokio::test]
    async fn an_answer_is_taken_if_it_is_whole_and_not_too_large() {
        assert_eq!(fetched(Answer::ok("{}")).await.unwrap(), "{}");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert_eq!(fetched(Answer::Raw(chunked.to_owned())).await.unwrap(), "{}");
        assert_eq!(fetched(Answer::ok(&"x".repeat(MAX_BYTES))).await.unwrap().len(), MAX_BYTES);
        assert_eq!(fetched(Answer::ok(&"x".repeat(MAX_BYTES + 1))).await, Err(FetchError::TooLarge));
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_BYTES * 2));
        assert_eq!(fetched(Answer::Raw(endless)).await, Err(FetchError::TooLarge));
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}";
        assert_eq!(fetched(Answer::Raw(cut.to_owned())).await, Err(FetchError::Http));
        assert_eq!(fetched(Answer::Raw("hello\r\n\r\n".to_owned())).await, Err(FetchError::Http));
    }

    #[tokio::test]
    async fn redirects_and_errors_are_refused() {
        let redirect = "302 Found\r\nlocation: http://127.0.0.1:1/";
        assert_eq!(fetched(Answer::status(redirect)).await, Err(FetchError::Status(302)));
        assert_eq!(fetched(Answer::status("404 Not Found")).await, Err(FetchError::Status(404)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_silent_or_gone_is_given_up() {
        assert_eq!(fetched(Answer::Held).await, Err(FetchError::Timeout));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let gone = Endpoint::parse(&format!("http://127.0.0.1:{port}/")).unwrap().fetch().await;
        assert!(matches!(gone, Err(FetchError::Connect | FetchError::Timeout)), "{gone:?}");
    }

    #[tokio::test]
    async fn a_server_is_asked_over_tls_if_its_certificate_is_trusted() {
        // openssl req -x509 -newkey ec -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE -days 36500
        let certificate = CertificateDer::from(&include_bytes!("testing/localhost.der")[..]);
        let key = PrivatePkcs8KeyDer::from(&include_bytes!("testing/localhost.pk8")[..]);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let server = Server::with_tls(Answer::ok("{}"), config).await;
        let url = |host: &str| server.url().replace("http://127.0.0.1", &format!("https://{host}"));
        let trusting = || {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            roots
        };
        let fetch = async |host: &str| Endpoint::with_roots(&url(host), trusting).unwrap().fetch().await;
        assert_eq!(fetch("localhost").await.unwrap(), "{}");
        assert_eq!(fetch("127.0.0.1").await, Err(FetchError::Tls), "it is the certificate of another name");
        assert_eq!(Endpoint::parse(&url("localhost")).unwrap().fetch().await, Err(FetchError::Tls));
    }

    #[test]
    fn urls_are_https_or_of_this_machine() {
        for url in
            ["https://id.example.com/keys", "https://id.example.com:8443", "http://localhost/k", "http://[::1]:9/k"]
        {
            assert!(Endpoint::parse(url).is_ok(), "{url}");
        }
        for url in
            ["http://id.example.com/", "http://10.0.0.1/", "http://localhost.example.com/", "/keys", "https://a@b/"]
        {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
