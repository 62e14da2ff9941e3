//! Answers to requests. They are sent at once: their items were batched by the worker.

use std::sync::Arc;

use protocol::{
    Code, Fault,
    command::Outcome,
    envelope::{Item, Kind},
};
use serde_json::value::RawValue;

use super::outbox::fitting;
use crate::link::Link;

/// The limit of one answer, in bytes. Redis keeps 32 MiB for a subscriber before it cuts it off, and with it everything that the
/// gateway receives.
pub const REPLY_LIMIT: usize = 8 * 1024 * 1024;

/// Answers requests of `reply_to`, in as many messages as it takes.
pub(crate) async fn reply(link: &Link, reply_to: &str, items: &[(Vec<u64>, Arc<Outcome>)]) {
    let bodies: Vec<_> = items.iter().filter_map(|(ids, outcome)| Some((ids, body(outcome)?))).collect();
    let mut rest = bodies.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fitting(rest.iter().map(|(_, body)| &**body)));
        rest = later;
        let items = now.iter().map(|(ids, body)| Item {
            ids: (*ids).clone(),
            deadline_ms: None,
            traceparent: None,
            tracestate: None,
            body,
        });
        if let Err(error) = link.publish(Kind::Reply, reply_to, items.collect()).await {
            tracing::warn!(%error, to = reply_to, "replies not sent; their requests will time out");
        }
    }
}

/// An outcome as JSON; `None` if it cannot be written.
fn body(outcome: &Outcome) -> Option<Box<RawValue>> {
    let body = serde_json::value::to_raw_value(outcome).ok()?;
    if body.get().len() <= REPLY_LIMIT {
        return Some(body);
    }
    tracing::error!(bytes = body.get().len(), limit = REPLY_LIMIT, "reply refused: the room is too large");
    let fault = Fault::new(Code::Overloaded, "the room is too large: its members' states are over 8 MiB together");
    serde_json::value::to_raw_value(&Outcome::Fault(fault)).ok()
}
