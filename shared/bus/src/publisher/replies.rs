//! Answers to requests. They are sent at once: their sender batches them.

use std::{sync::Arc, time::Duration};

use protocol::{
    Code, Fault,
    command::Outcome,
    envelope::{Item, Kind},
};
use serde_json::value::RawValue;
use telemetry::LogLimit;

use super::outbox::fitting;
use crate::link::Link;

/// The limit of one answer, in bytes. Redis keeps 32 MiB for a subscriber before it cuts it off, and with it everything that the
/// gateway receives.
pub const REPLY_LIMIT: usize = 8 * 1024 * 1024;

static NOT_SENT: LogLimit = LogLimit::new(Duration::from_secs(10));

/// An outcome as it is sent. Several replies may share it.
#[derive(Debug, Clone)]
pub struct Body(Arc<RawValue>);

impl Body {
    /// Writes an outcome; one over [`REPLY_LIMIT`] is replaced by `OVERLOADED`. `None` if it cannot be written.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let body = serde_json::value::to_raw_value(outcome).ok()?;
        if body.get().len() <= REPLY_LIMIT {
            return Some(Self(body.into()));
        }
        tracing::error!(bytes = body.get().len(), limit = REPLY_LIMIT, "reply refused: the room is too large");
        let fault = Fault::new(Code::Overloaded, "the room is too large: its members' states are over 8 MiB together");
        Some(Self(serde_json::value::to_raw_value(&Outcome::Fault(fault)).ok()?.into()))
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.0.get().len()
    }
}

/// One answer to requests of one instance.
#[derive(Debug)]
pub struct Reply {
    /// The requests that it answers; 0 stands for a request of another instance.
    pub ids: Vec<u64>,
    /// The outcome.
    pub body: Body,
}

impl Reply {
    /// A reply whose outcome no other reply shares; `None` if the outcome cannot be written.
    pub fn new(ids: Vec<u64>, outcome: &Outcome) -> Option<Self> {
        Some(Self { ids, body: Body::of(outcome)? })
    }
}

/// Answers requests of `reply_to`, in as many messages as it takes.
pub(crate) async fn reply(link: &Link, reply_to: &str, replies: &[Reply]) {
    let mut rest = replies;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fitting(rest.iter().map(|reply| &*reply.body.0)));
        rest = later;
        let items = now.iter().map(|Reply { ids, body }| Item {
            ids: ids.clone(),
            deadline_ms: None,
            traceparent: None,
            tracestate: None,
            body: &body.0,
        });
        if let Err(error) = link.publish(Kind::Reply, reply_to, items.collect()).await
            && let Some(suppressed) = NOT_SENT.admit()
        {
            tracing::warn!(%error, to = reply_to, suppressed, "replies not sent; their requests will time out");
        }
    }
}
