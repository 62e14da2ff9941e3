//! What leaves for one instance. While one publish is under way, the requests for it collect; they leave together when
//! it is done. No timer: an idle bus adds no latency, a busy one sends few large messages.

use std::sync::Arc;

use fred::{error::Error, interfaces::PubsubInterface as _};
use protocol::{
    InstanceId,
    envelope::{Item, Kind},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tokio::sync::mpsc;
use tracing::Span;

use crate::{Bus, redis};

/// Requests that may wait for one instance.
pub(crate) const OUTBOX: usize = 8_192;
/// Requests that leave in one message.
const BATCH: usize = 256;
/// Bytes after which a message is full, whatever else waits. Redis cuts off a subscriber that leaves 32 MiB unread.
pub(crate) const BATCH_BYTES: usize = 512 * 1024;

/// A request on its way.
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) body: Arc<RawValue>,
    pub(crate) trace: TraceContext,
}

/// Sends what comes, until the outbox is dropped.
pub(crate) async fn run(bus: Arc<Bus>, target: InstanceId, mut waiting: mpsc::Receiver<Outgoing>) {
    let channel = bus.subjects.inbox(&target);
    let mut batch: Vec<Outgoing> = Vec::new();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut rest = batch.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest.iter().map(|outgoing| &*outgoing.body)));
            rest = later;
            send(&bus, &target, &channel, now).await;
        }
        batch.clear();
    }
}

/// How many of `bodies` fit a message; at least one.
pub(crate) fn fitting<'a>(bodies: impl Iterator<Item = &'a RawValue>) -> usize {
    let mut bytes = 0;
    let fits = bodies.take_while(|body| {
        bytes += body.get().len();
        bytes <= BATCH_BYTES
    });
    fits.count().max(1)
}

async fn send(bus: &Arc<Bus>, target: &InstanceId, channel: &str, batch: &[Outgoing]) {
    let traced = batch.iter().filter(|outgoing| !outgoing.trace.is_empty());
    let span = match traced.clone().next() {
        Some(first) => {
            let span = telemetry::span::publish("presence.commands", channel, batch.len());
            first.trace.adopt(&span);
            traced.skip(1).for_each(|other| other.trace.link(&span));
            span
        }
        None => Span::none(),
    };
    let items = batch.iter().map(item).collect();
    match publish(bus, Kind::Request, channel, items).await {
        Ok(0) => {
            telemetry::span::fail(&span, "gone", "nobody received it");
            bus.requests.target_gone(bus, target);
        }
        Ok(_) => bus.requests.published(batch.iter().map(|outgoing| outgoing.id)),
        Err(error) => {
            telemetry::span::fail(&span, "redis", error.details());
            bus.requests.unsent(batch.iter().map(|outgoing| outgoing.id));
        }
    }
}

fn item(outgoing: &Outgoing) -> Item<'_> {
    Item {
        ids: vec![outgoing.id],
        traceparent: outgoing.trace.traceparent(),
        tracestate: outgoing.trace.tracestate(),
        body: &outgoing.body,
    }
}

/// Publishes an envelope; answers how many received it.
pub(crate) async fn publish(bus: &Bus, kind: Kind, channel: &str, items: Vec<Item<'_>>) -> Result<u64, Error> {
    let text = bus.envelope(kind, items).write().map_err(|_| Error::new_canceled())?;
    // No span of its own: what is traced has one for the message, and a probe is not.
    redis::observed(Span::none(), "spublish", "", bus.commands.spublish(channel, text)).await
}
