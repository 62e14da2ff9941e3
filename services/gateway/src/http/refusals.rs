//! Refusals before Socket.IO: each is counted, logged at a limited rate, and answered.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{ConnectInfo, Request},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use rollcall_telemetry::{
    LogLimit,
    metrics::{self, Refusal},
};

use super::connections::Peer;

/// A client can cause each as fast as it can send requests.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// When to try again if a limit of this process is reached. An edge tries another gateway at once.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts a refusal, and logs it unless the same reason was logged just before.
pub(super) fn record(refusal: Refusal, why: &'static str, address: Option<IpAddr>) {
    static LIMITS: [LogLimit; Refusal::ALL.len()] = [const { LogLimit::new(LOG_EVERY) }; Refusal::ALL.len()];
    metrics::refused(refusal);
    if let Some(suppressed) = LIMITS[refusal as usize].admit() {
        let address = address.map(tracing::field::display);
        tracing::warn!(reason = refusal.name(), address, why, suppressed, "request refused");
    }
}

/// Records a refusal and answers it. The connection is closed after the answer.
pub(super) fn refuse(refusal: Refusal, status: StatusCode, why: &'static str, address: Option<IpAddr>) -> Response {
    record(refusal, why, address);
    (status, [(header::CONNECTION, "close")], why).into_response()
}

/// The same, with the time after which the client may try again, in full seconds.
pub(super) fn refuse_for(
    wait: Duration,
    refusal: Refusal,
    status: StatusCode,
    why: &'static str,
    address: Option<IpAddr>,
) -> Response {
    let mut response = refuse(refusal, status, why, address);
    let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The client's address.
pub(super) fn address(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|peer| peer.0.address.ip())
}
