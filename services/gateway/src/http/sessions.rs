//! How many sessions there may be, and how fast an address may begin them.

use std::{num::NonZeroU32, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use rollcall_service::Tasks;
use rollcall_telemetry::metrics::{self, Reading, Refusal};

use super::{
    address::Source,
    gate::{is_socket_io, session_of},
    refusals::{RETRY_AFTER, address, refuse_for},
    slot::{Outside, Slot},
    transports::Transports,
};
use crate::{
    count::Count,
    flow::{keyed::Buckets, rate::Quota},
};

/// The most sessions that are in no namespace, in all.
const MOST_OUTSIDE: usize = 4096;
/// The most of one address.
const MOST_OUTSIDE_OF_ADDRESS: usize = 256;
/// An address may make as many handshakes at once as in this many seconds.
const BURST_S: u64 = 10;

/// The limits of sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// `max_sessions`
    pub(crate) sessions: usize,
    /// `address_handshakes_per_s`; none if addresses have no limits at all.
    pub(crate) address_handshakes_per_s: Option<NonZeroU32>,
}

/// All sessions of this process.
pub(crate) struct Sessions {
    limits: Limits,
    all: Count,
    outside: Arc<Outside>,
    /// Handshakes of each address.
    rate: Option<Buckets<Source>>,
}

impl Sessions {
    pub(crate) fn new(limits: Limits, transports: Arc<Transports>) -> Arc<Self> {
        let quota = |per_s: NonZeroU32| Quota::new(per_s.get().into(), BURST_S);
        let rate = limits.address_handshakes_per_s.map(|per_s| Buckets::new(quota(per_s)));
        Arc::new(Self { limits, all: Count::default(), outside: Outside::new(transports), rate })
    }

    /// Starts what closes sessions, and registers metrics.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let sessions = Arc::clone(self);
        tasks.spawn_permanent("sessions", async move { sessions.outside.close_left().await });
        let share = |limit, count: &Count, most: usize| {
            let count = count.clone();
            metrics::observe(Reading::LimitUsed(limit), move || Some(count.get() as f64 / most as f64));
        };
        share("sessions", &self.all, self.limits.sessions);
        share("handshakes", self.outside.count(), MOST_OUTSIDE);
    }

    /// A slot for a new session, or why there is none.
    fn admit(&self, source: Source) -> Result<Arc<Slot>, (Refusal, StatusCode, &'static str)> {
        let session = self.all.one_more_up_to(self.limits.sessions);
        let why = "this gateway has as many sessions as MAX_SESSIONS";
        let session = session.ok_or((Refusal::Sessions, StatusCode::SERVICE_UNAVAILABLE, why))?;
        let most_of_address = self.limits.address_handshakes_per_s.map_or(usize::MAX, |_| MOST_OUTSIDE_OF_ADDRESS);
        let slot = self.outside.slot(source, session, MOST_OUTSIDE, most_of_address);
        slot.map_err(|(status, why)| (Refusal::Handshakes, status, why))
    }
}

/// Gives a handshake a slot, or refuses it.
pub(super) async fn admit(State(sessions): State<Arc<Sessions>>, mut request: Request, next: Next) -> Response {
    let opens = is_socket_io(request.uri()) && session_of(request.uri()).is_none();
    let Some(client) = address(&request).filter(|_| opens) else { return next.run(request).await };
    let source = Source::from(client);
    if let Some(Err(wait)) = sessions.rate.as_ref().map(|rate| rate.take(&source)) {
        let why = "too many handshakes of this address, or of new addresses";
        return refuse_for(wait, Refusal::AddressRate, StatusCode::TOO_MANY_REQUESTS, why, Some(client));
    }
    match sessions.admit(source) {
        Ok(slot) => {
            request.extensions_mut().insert(slot);
            next.run(request).await
        }
        Err((refusal, status, why)) => refuse_for(RETRY_AFTER, refusal, status, why, Some(client)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::flow::backlog::Backlog;

    #[test]
    fn an_address_has_a_burst_of_ten_seconds_and_zero_is_no_limit() {
        let sessions = |address_handshakes_per_s| {
            let transports = Transports::new(Arc::default(), Backlog::new(0));
            Sessions::new(Limits { sessions: 1, address_handshakes_per_s }, transports)
        };
        let source = |number: u32| Source::from(IpAddr::from(Ipv4Addr::from(number)));
        let limited = sessions(NonZeroU32::new(1));
        let rate = limited.rate.as_ref().unwrap();
        assert_eq!((0..100).filter(|_| rate.take(&source(1)).is_ok()).count(), 10);
        assert!(rate.take(&source(1)).unwrap_err().as_millis() > 900);
        assert!(rate.take(&source(2)).is_ok());
        assert!(sessions(None).rate.is_none());
    }
}
