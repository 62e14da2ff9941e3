//! Spans on their way out.

use std::{sync::Arc, time::Duration};

use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor, Tracer,
    },
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::{
    backlog::Backlog,
    body::{Body, Replacing},
    encode,
};

/// Spans that may wait, up to some 1.5 KiB each: 25 MiB; heartbeats' take less. The SDK's default of 2,048 drops under load.
const QUEUE: usize = 16_384;
/// What all spans say they are made by.
const SCOPE: &str = "rollcall";

pub(super) fn begin(resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let body = Body::default();
    let client =
        Replacing::with(body.clone()).map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(client).build()?;
    let backlog = Backlog::new("traces", "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
    let batch = BatchConfigBuilder::default().with_max_queue_size(backlog.limit()).build();
    let exporter = Counted { inner: exporter, body, resource: Vec::new(), backlog: Arc::clone(&backlog) };
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
    let processor = Bounded { inner, backlog };
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

/// Writes the requests, which `inner` sends, and tells the backlog what left.
#[derive(Debug)]
struct Counted {
    inner: opentelemetry_otlp::SpanExporter,
    body: Body,
    resource: Vec<u8>,
    backlog: Arc<Backlog>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.body.set(encode::request(&batch, SCOPE, &self.resource));
        drop(batch);
        let result = self.inner.export(Vec::new()).await;
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
        self.resource = encode::resource(resource);
    }
}
