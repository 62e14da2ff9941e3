//! Answers to requests. They are sent at once: their sender batches them.

use std::{sync::Arc, time::Duration};

use rollcall_protocol::{
    Code, Fault,
    command::Outcome,
    envelope::{Item, Kind},
};
use rollcall_telemetry::LogLimit;
use serde_json::value::RawValue;

use super::outbox::fitting;
use crate::link::Link;

/// The limit of one answer, in bytes. Redis keeps 32 MiB for a subscriber before it cuts it off, and with it everything that the
/// gateway receives.
pub const REPLY_LIMIT: usize = 8 * 1024 * 1024;

static NOT_SENT: LogLimit = LogLimit::new(Duration::from_secs(10));

/// An outcome as it is sent. Several replies may share it.
#[derive(Debug, Clone)]
pub struct Body {
    json: Arc<RawValue>,
    outcome_bytes: usize,
}

impl Body {
    /// Writes an outcome; one over [`REPLY_LIMIT`] is replaced by `OVERLOADED`. `None` if it cannot be written.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let mut json = serde_json::value::to_raw_value(outcome).ok()?;
        let outcome_bytes = json.get().len();
        if outcome_bytes > REPLY_LIMIT {
            tracing::error!(bytes = outcome_bytes, limit = REPLY_LIMIT, "reply refused: the room is too large");
            let why = "the room is too large: its members' states are over 8 MiB together";
            json = serde_json::value::to_raw_value(&Outcome::Fault(Fault::new(Code::Overloaded, why))).ok()?;
        }
        Some(Self { json: json.into(), outcome_bytes })
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.json.get().len()
    }

    /// The length of the outcome, which is longer if it was replaced.
    pub fn outcome_bytes(&self) -> usize {
        self.outcome_bytes
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
        let (now, later) = rest.split_at(fitting(rest.iter().map(|reply| &*reply.body.json)));
        rest = later;
        let items = now.iter().map(|Reply { ids, body }| Item {
            ids: ids.clone(),
            deadline_ms: None,
            traceparent: None,
            tracestate: None,
            body: &body.json,
        });
        if let Err(error) = link.publish(Kind::Reply, reply_to, items.collect()).await
            && let Some(suppressed) = NOT_SENT.admit()
        {
            tracing::warn!(%error, to = reply_to, suppressed, "replies not sent; their requests will time out");
        }
    }
}
