//! The outbox of one target. While one publish is in flight, requests collect; the next message carries them together. No timer:
//! an idle bus adds no latency, a busy one sends few large messages. A request that no one waits for any more is not sent.

use std::sync::Arc;

use rollcall_protocol::{
    InstanceId,
    envelope::{Item, Kind},
};
use rollcall_telemetry::propagation::TraceContext;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tracing::Span;

use crate::{
    clock::Deadline,
    link::Link,
    redis::{is_answer, is_unsent},
};

/// Requests that may wait for one target.
pub(super) const OUTBOX_CAPACITY: usize = 8_192;
/// Requests per message.
const BATCH: usize = 256;
/// Bytes after which a message is full. Redis cuts off a subscriber that leaves 32 MiB unread.
const BATCH_BYTES: usize = 512 * 1024;

/// A request to be sent.
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) body: Arc<RawValue>,
    pub(crate) trace: TraceContext,
    pub(crate) deadline: Deadline,
}

/// Where an outbox reports the fate of its requests.
pub(crate) trait Deliveries: Send + Sync + 'static {
    /// Whether the caller still waits for the answer.
    fn is_awaited(&self, id: u64) -> bool;
    /// They were published, or may have been.
    fn published(&self, ids: &[u64]);
    /// Redis refused their message.
    fn refused(&self, ids: &[u64]);
    /// No one receives messages to `target`.
    fn gone(&self, target: &InstanceId);
}

/// See the module.
pub(super) struct Outbox {
    link: Arc<Link>,
    channel: String,
    deliveries: Arc<dyn Deliveries>,
}

impl Outbox {
    pub(super) fn new(link: Arc<Link>, target: &InstanceId, deliveries: Arc<dyn Deliveries>) -> Self {
        let channel = link.subjects.inbox(target);
        Self { link, channel, deliveries }
    }

    /// Sends requests until the sending side is dropped. Calls `on_gone` when no one receives them.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Outgoing>, on_gone: impl Fn() + Send + 'static) {
        let mut batch: Vec<Outgoing> = Vec::new();
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            loop {
                // Before each message: the previous publish may have taken long.
                batch.retain(|one| !one.deadline.has_passed() && self.deliveries.is_awaited(one.id));
                if batch.is_empty() {
                    break;
                }
                let fits = fitting(batch.iter().map(|one| &*one.body));
                self.send(&batch[..fits], &on_gone).await;
                batch.drain(..fits);
            }
        }
    }

    async fn send(&self, batch: &[Outgoing], on_gone: &(impl Fn() + Send + 'static)) {
        let span = self.span(batch);
        let published = self.link.publish(Kind::Request, &self.channel, batch.iter().map(item).collect()).await;
        let ids: Vec<u64> = batch.iter().map(|one| one.id).collect();
        match published {
            Ok(0) => {
                rollcall_telemetry::span::fail(&span, "gone", "no one received it");
                on_gone();
            }
            Ok(_) => self.deliveries.published(&ids),
            Err(error) => {
                rollcall_telemetry::span::fail(&span, "redis", error.details());
                if is_answer(&error) || is_unsent(&error) {
                    self.deliveries.refused(&ids);
                } else {
                    // Redis may have accepted the message, or may do so later: an answer may still arrive.
                    self.deliveries.published(&ids);
                }
            }
        }
    }

    fn span(&self, batch: &[Outgoing]) -> Span {
        let mut traced = batch.iter().filter(|one| !one.trace.is_empty());
        let Some(first) = traced.next() else { return Span::none() };
        let span = rollcall_telemetry::span::publish("presence.commands", &self.channel, batch.len());
        first.trace.adopt(&span);
        traced.for_each(|other| other.trace.link(&span));
        span
    }
}

fn item(outgoing: &Outgoing) -> Item<'_> {
    Item {
        ids: vec![outgoing.id],
        deadline_ms: Some(outgoing.deadline.wall_clock_ms),
        traceparent: outgoing.trace.traceparent(),
        tracestate: outgoing.trace.tracestate(),
        body: &outgoing.body,
    }
}

/// How many of `bodies` fit into a message; at least one.
pub(super) fn fitting<'a>(bodies: impl Iterator<Item = &'a RawValue>) -> usize {
    let mut bytes = 0;
    let fits = bodies.take_while(|body| {
        bytes += body.get().len();
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}
