//! Connections over the limits. Health pages are answered on them too: an orchestrator that gets no answer restarts a gateway
//! that is merely full, and an edge that gets none closes it for the sessions that it has. All else is refused.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rollcall_telemetry::metrics::Refusal;
use tokio::{net::TcpStream, time::timeout};
use tower::Service as _;

use super::{
    address::{CountByAddress, Source},
    connections::TooMany,
    gate::unavailable,
    refusals::record,
    timed::Timed,
};
use crate::count::Count;

/// The most connections over the limits that are answered at a time; further ones are closed.
const MOST: usize = 64;
/// The most of one address, so that one client cannot take them all.
const MOST_OF_ADDRESS: usize = 4;
/// The time for one request and its answer.
const WITHIN: Duration = Duration::from_secs(3);
/// hyper's smallest buffer.
const HEAD_BYTES: usize = 8 * 1024;

/// Answers connections over the limits.
pub(crate) struct Overflow {
    pages: Router,
    all: Count,
    of_address: CountByAddress,
}

impl Overflow {
    /// `pages`: the health pages.
    pub(crate) fn new(pages: Router) -> Self {
        let pages = pages.fallback(|| async { unavailable("this gateway has as many connections as it may") });
        Self { pages, all: Count::default(), of_address: CountByAddress::default() }
    }

    /// Answers one request, or closes the connection.
    pub(super) fn answer(&self, stream: TcpStream, address: IpAddr, source: Option<Source>, too_many: TooMany) {
        let why = match too_many {
            TooMany::InAll => "too many connections",
            TooMany::OfAddress => "too many connections of this address",
        };
        record(Refusal::Connections, why, Some(address));
        let Some(one) = self.all.one_more_up_to(MOST) else { return };
        let of_address = source.map(|source| self.of_address.one_more_up_to(MOST_OF_ADDRESS, source));
        if matches!(of_address, Some(None)) {
            return;
        }
        let pages = self.pages.clone();
        tokio::spawn(async move {
            let _places = (one, of_address);
            let service = service_fn(move |request: Request<Incoming>| pages.clone().call(request.map(Body::new)));
            let mut http = http1::Builder::new();
            let timed = Timed::new(stream, Arc::default());
            let http = http.keep_alive(false).max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(timed), service);
            let _ = timeout(WITHIN, http).await;
        });
    }
}
