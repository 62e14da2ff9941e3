//! Spans on their way out.

use std::{sync::Arc, time::Duration};

use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor, Tracer,
    },
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::backlog::Backlog;

/// Spans that may wait, up to some 1.5 KiB each: 25 MiB; heartbeats' take less. The SDK's default of 2,048 drops under load.
const QUEUE: usize = 16_384;
/// What all spans say they are made by.
const SCOPE: &str = "rollcall";

pub(super) fn begin(resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build()?;
    let backlog = Backlog::new("traces", "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
    let processor = Bounded::new(exporter, backlog);
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
    crate::heartbeat::begin(provider.tracer(SCOPE));
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

/// Lets through what there is room for.
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

/// Tells the backlog what left.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    backlog: Arc<Backlog>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.backlog.left(count, &result);
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

    /// A collector that can be away.
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
