//! Accepts connections and serves HTTP/1 on each. The limits of a request's head are here; `axum::serve` has none.

use std::{
    convert::Infallible,
    error::Error as _,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::StatusCode;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rollcall_telemetry::{
    LogLimit,
    metrics::{self, Reading, Refusal},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower::Service as _;

use super::{
    address::Source,
    connection::Connection,
    connections::{Open, Peer},
    overflow::Overflow,
    proxies::Proxies,
    refusals::record,
    sessions::Limits,
    timed::{Progress, Timed},
};

/// The largest head of a request; hyper answers 431 beyond. Also the most that a connection buffers.
const HEAD_BYTES: usize = 16 * 1024;
/// Connections beyond one for each session: requests that are short, and polls that overlap.
const MORE_THAN_SESSIONS: usize = 1024;
/// Files that connections leave to Redis, the collector and health pages.
const RESERVED_FILES: usize = 256;
/// The most connections of one address that are not WebSockets. A long-polling client needs two at a time.
const MOST_OF_ADDRESS: usize = 1024;
/// The pause after `accept` failed because there are no file descriptors or no memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The list of connections, with the limits that follow from those of sessions and from the limit of open files.
pub(crate) fn connections(limits: Limits) -> Arc<Open> {
    let wanted = limits.sessions + MORE_THAN_SESSIONS;
    let files = open_files(wanted + RESERVED_FILES);
    // With few files in all, half are for connections.
    let most = wanted.min(files.saturating_sub(RESERVED_FILES).max(files / 2));
    tracing::info!(connections = most, sessions = limits.sessions, open_files = files, "limits");
    let most_of_address = limits.address_handshakes_per_s.map_or(usize::MAX, |_| MOST_OF_ADDRESS);
    let open = Open::new(most, most_of_address);
    let listed = Arc::clone(&open);
    metrics::observe(Reading::LimitUsed("connections"), move || Some(listed.used()));
    open
}

/// The limit of open files, after raising it to `wanted` as far as the hard limit allows. Container runtimes and login shells start
/// processes with a soft limit of 1,024 and a hard one of half a million: a program that does not use `select` should raise it.
fn open_files(wanted: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let raised = soft.max(hard.min(wanted as u64));
    match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised as usize,
        Err(_) => soft as usize,
    }
}

/// The listener and what it serves.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) open: Arc<Open>,
    pub(crate) app: Router,
    pub(crate) overflow: Overflow,
    /// Their addresses are not limited: many clients share them.
    pub(crate) proxies: Proxies,
    /// For how long a WebSocket may be silent while something waits for it.
    pub(crate) silent: Duration,
}

impl Server {
    /// Accepts connections as long as it is polled. Each is served by a task of its own, which ends with its connection.
    pub(crate) async fn run(self) {
        loop {
            let (stream, address) = accept(&self.listener).await;
            let _ = stream.set_nodelay(true);
            let ip = address.ip().to_canonical();
            let source = (!self.proxies.trusts(ip)).then(|| Source::from(ip));
            match Connection::open(stream, &self.open, source, self.silent) {
                Ok(connection) => drop(tokio::spawn(serve(connection, address, self.app.clone()))),
                Err((stream, too_many)) => self.overflow.answer(stream, address.ip(), source, too_many),
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    static FAILED: LogLimit = LogLimit::new(Duration::from_secs(10));
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client was gone before it was accepted.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                if let Some(suppressed) = FAILED.admit() {
                    tracing::warn!(%error, suppressed, "accept failed");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(connection: Connection, address: SocketAddr, app: Router) {
    let peer = Peer { address, connection: connection.id() };
    let progress = Arc::<Progress>::default();
    let timed = Timed::new(connection, Arc::clone(&progress));
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut app, progress) = (app.clone(), Arc::clone(&progress));
        progress.serving();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let response = app.call(request).await?;
            progress.answered(response.status() == StatusCode::SWITCHING_PROTOCOLS);
            Ok::<_, Infallible>(response)
        }
    });
    let http = http1::Builder::new().max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(timed), service);
    if let Err(error) = http.with_upgrades().await {
        record_head(&error, address.ip());
    }
}

/// Records what was wrong with the head of a request, if that ended its connection.
fn record_head(error: &hyper::Error, address: IpAddr) {
    let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    if error.is_parse_too_large() {
        record(Refusal::RequestHead, "the head is larger than 16 KiB", Some(address));
    } else if error.source().and_then(|source| source.downcast_ref()).is_some_and(is_late) {
        record(Refusal::RequestHead, "the head did not come within 5 s", Some(address));
    }
}
