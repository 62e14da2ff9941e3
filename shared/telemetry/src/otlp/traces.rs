//! Export of spans.

use std::{error::Error, sync::Arc, time::Duration};

use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_otlp::WithHttpConfig as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor, Tracer,
    },
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::{backlog::Backlog, client::Client, settings::Signal};

/// Spans that may wait. A span is up to 1.5 KiB, less for heartbeats: 25 MiB together. The SDK's default of 2,048 drops spans
/// under load.
const QUEUE: usize = 16_384;
/// The instrumentation scope of all spans.
const SCOPE: &str = "rollcall";

pub(super) fn begin(resource: Resource) -> Result<SdkTracerProvider, Box<dyn Error>> {
    let backlog = Backlog::new(Signal::Traces.name(), "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
    let client = Client::new(Signal::Traces, Backlog::reasons(&backlog))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(client).build()?;
    let processor = Bounded::new(exporter, backlog);
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
    crate::heartbeat::set_tracer(provider.tracer(SCOPE));
    Ok(provider)
}

pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> OpenTelemetryLayer<S, Tracer>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    OpenTelemetryLayer::new(provider.tracer(SCOPE))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
}

/// Passes on sampled spans as long as the backlog has room.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    backlog: Arc<Backlog>,
}

impl Bounded {
    fn new(exporter: impl SpanExporter + 'static, backlog: Arc<Backlog>) -> Self {
        let batch = BatchConfigBuilder::default().with_max_queue_size(backlog.limit()).build();
        let exporter = Counted { inner: exporter, backlog: Arc::clone(&backlog) };
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
        Self { inner, backlog }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.backlog.admit() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Removes exported batches from the backlog.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    backlog: Arc<Backlog>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.backlog.finish(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use opentelemetry::trace::{Span as _, Tracer as _};
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    /// A collector that can be down.
    #[derive(Debug, Default, Clone)]
    struct Collector {
        is_away: Arc<AtomicBool>,
        names: Arc<Mutex<Vec<String>>>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(OTelSdkError::InternalFailure("away".to_owned()));
            }
            self.names.lock().unwrap().extend(batch.into_iter().map(|span| span.name.into_owned()));
            Ok(())
        }
    }

    #[test]
    fn a_span_leaves_the_backlog_when_it_is_exported_and_when_it_is_lost() {
        let (collector, backlog) = (Collector::default(), Backlog::new("tests", "ROLLCALL_NO_SUCH_VARIABLE", 2));
        let processor = Bounded::new(collector.clone(), Arc::clone(&backlog));
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let round = |name: &'static str| {
            provider.tracer(SCOPE).start(name).end();
            let _ = provider.force_flush();
            (backlog.waiting(), backlog.dropped())
        };
        assert_eq!(round("first"), (0, 0));
        collector.is_away.store(true, Ordering::Relaxed);
        assert_eq!([round("lost"), round("lost"), round("lost")], [(0, 1), (0, 2), (0, 3)]);
        collector.is_away.store(false, Ordering::Relaxed);
        assert_eq!(round("last"), (0, 3));
        assert_eq!(*collector.names.lock().unwrap(), ["first", "last"]);
    }
}
