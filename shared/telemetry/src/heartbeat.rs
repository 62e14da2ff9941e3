//! The span of a heartbeat that the gateway answers at once. It is the same as [`socket_event`] would make, but built with the
//! SDK alone. The span has no children and no log lines and is never entered, so it needs none of what `tracing` keeps for a
//! span, which costs several times what the span itself does.

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanBuilder, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::{propagation::TraceContext, span::socket_event};

const EVENT: &str = "presence:heartbeat";
/// The largest number of attributes.
const ATTRIBUTES: usize = 7;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Exports the spans through `tracer`.
pub(crate) fn set_tracer(tracer: SdkTracer) {
    let _ = TRACER.set(tracer);
}

/// The span of a heartbeat, from its arrival to its answer.
#[derive(Debug)]
pub struct HeartbeatSpan(Box<Traced>);

#[derive(Debug)]
struct Traced {
    tracer: &'static SdkTracer,
    arrived: SystemTime,
    conn: Arc<str>,
    transport: &'static str,
    connect: TraceContext,
    /// Started only when it is certain to be needed: the SDK exports a span that is dropped.
    span: Option<Span>,
}

impl HeartbeatSpan {
    /// The span of a heartbeat that just arrived on the connection `conn`, linked to `connect`. `None` if no traces are
    /// exported.
    pub fn arrived(conn: &Arc<str>, transport: &'static str, connect: &TraceContext) -> Option<Self> {
        let tracer = TRACER.get()?;
        let (conn, connect) = (Arc::clone(conn), connect.clone());
        Some(Self(Box::new(Traced { tracer, arrived: SystemTime::now(), conn, transport, connect, span: None })))
    }

    /// Records that the heartbeat was accepted under `epoch`, and returns the span's context.
    pub fn accept(&mut self, epoch: u64) -> TraceContext {
        let span = self.started();
        span.set_attribute(KeyValue::new("presence.epoch", epoch as i64));
        span.set_attribute(KeyValue::new("presence.state_changed", false));
        TraceContext::from(span.span_context())
    }

    /// Marks the span as failed, as [`fail`](crate::span::fail) does.
    pub fn fail(&mut self, kind: &'static str, message: &str) {
        self.started().set_status(Status::error(""));
        self.refuse(kind, message);
    }

    /// Marks the span as refused, as [`refuse`](crate::span::refuse) does.
    pub fn refuse(&mut self, kind: &'static str, message: &str) {
        let span = self.started();
        span.set_attribute(KeyValue::new("error.type", kind));
        let message = KeyValue::new("exception.message", message.to_owned());
        span.add_event("exception", vec![KeyValue::new("exception.type", kind), message]);
    }

    /// Ends the span: the heartbeat was answered.
    pub fn end(mut self) {
        self.started().end();
    }

    /// The heartbeat is not answered at once and needs a span that can have children.
    pub fn into_tracing(self) -> tracing::Span {
        let span = socket_event(EVENT, &self.0.conn, self.0.transport);
        self.0.connect.link(&span);
        span
    }

    fn started(&mut self) -> &mut Span {
        let Traced { tracer, arrived, conn, transport, connect, span } = &mut *self.0;
        span.get_or_insert_with(|| {
            let mut attributes = Vec::with_capacity(ATTRIBUTES);
            attributes.extend([
                KeyValue::new("socket.event", EVENT),
                KeyValue::new("socket.connection_id", Arc::clone(conn)),
                KeyValue::new("socket.transport", *transport),
                KeyValue::new("presence.operation", "heartbeat"),
                KeyValue::new("presence.conn_id", Arc::clone(conn)),
            ]);
            let builder = SpanBuilder::from_name("socket presence:heartbeat")
                .with_kind(SpanKind::Server)
                .with_start_time(*arrived)
                .with_attributes(attributes)
                .with_links(connect.span_context().cloned().map(Link::with_context).into_iter().collect());
            // A root, whatever span is active where the heartbeat is answered.
            tracer.build_with_context(builder, &Context::new())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{mem, sync::Mutex, time::Duration};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, SpanData, SpanProcessor},
    };
    use tracing_subscriber::{layer::SubscriberExt as _, registry};

    use super::*;
    use crate::span::{fail, refuse};

    #[derive(Debug, Default, Clone)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl Kept {
        /// The only span, without ids and times, which are never the same twice.
        fn only(&self) -> SpanData {
            let [mut span] = <[SpanData; 1]>::try_from(mem::take(&mut *self.0.lock().unwrap())).unwrap();
            assert!(span.span_context.is_valid() && span.end_time >= span.start_time);
            (span.start_time, span.end_time) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
            span.span_context = span.links[0].span_context.clone();
            span.events.events.iter_mut().for_each(|event| event.timestamp = SystemTime::UNIX_EPOCH);
            // Attributes that are set later come in any order.
            span.attributes.sort_by(|one, other| one.key.cmp(&other.key));
            span
        }
    }

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut Span, _: &Context) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn the_span_equals_the_one_that_tracing_makes() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
        set_tracer(provider.tracer("rollcall"));
        let layer = crate::otlp::traces::layer(&provider);
        tracing::subscriber::with_default(registry().with(layer), || {
            let (conn, connect) = (Arc::from("conn-1"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
            let connect = TraceContext::read(Some(connect), None);
            let arrived = || HeartbeatSpan::arrived(&conn, "websocket", &connect).unwrap();

            let full = arrived().into_tracing();
            tracing::record_all!(full, presence.epoch = 7_i64, presence.state_changed = false);
            drop(full);
            let expected = kept.only();
            assert_eq!((&*expected.name, expected.attributes.len()), ("socket presence:heartbeat", 7));
            let mut beat = arrived();
            let context = beat.accept(7);
            beat.end();
            assert_eq!(context.span_context(), kept.0.lock().unwrap().first().map(|span| &span.span_context));
            assert_eq!(kept.only(), expected);

            drop(arrived().into_tracing());
            let expected = kept.only();
            arrived().end();
            assert_eq!(kept.only(), expected, "a stale one, without an epoch");

            fail(&arrived().into_tracing(), "UNAVAILABLE", "try again");
            let expected = kept.only();
            assert_eq!((expected.attributes.len(), expected.events.len()), (6, 1));
            let mut beat = arrived();
            beat.fail("UNAVAILABLE", "try again");
            beat.end();
            assert_eq!(kept.only(), expected);

            refuse(&arrived().into_tracing(), "NOT_JOINED", "join first");
            let expected = kept.only();
            assert_eq!(expected.status, Status::Unset);
            let mut beat = arrived();
            beat.refuse("NOT_JOINED", "join first");
            beat.end();
            assert_eq!(kept.only(), expected);

            drop(arrived());
            assert!(kept.0.lock().unwrap().is_empty(), "a span that was not started is not exported");
        });
    }
}
