//! The exporter: spans leave by OTLP over HTTP from a thread of their own, in batches, through a bounded queue. A
//! collector that is slow or gone costs dropped spans and nothing else.

use std::{env, time::Duration};

use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Tracer},
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::Settings;

const ENDPOINT: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// The SDK's default of 2,048 spans drops under load; `OTEL_BSP_MAX_QUEUE_SIZE` wins over this.
const QUEUE: usize = 16_384;
const FLUSH: Duration = Duration::from_secs(2);

/// Flushes what is queued when the service ends.
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what is queued, for two seconds at most. To be called off the runtime, after everything else has ended.
    pub fn shutdown(self) {
        if let Some(provider) = self.provider {
            let _ = provider.shutdown_with_timeout(FLUSH);
        }
    }
}

pub(crate) fn layer<S>(settings: &Settings) -> (Option<OpenTelemetryLayer<S, Tracer>>, Guard)
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    if !ENDPOINT.iter().any(|name| env::var(name).is_ok_and(|url| !url.is_empty())) {
        return (None, Guard { provider: None });
    }
    let exporter = match SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            eprintln!("traces are off: the OTLP exporter could not be built: {error}");
            return (None, Guard { provider: None });
        }
    };
    global::set_text_map_propagator(TraceContextPropagator::new());
    let mut batch = BatchConfigBuilder::default();
    if env::var_os("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
        batch = batch.with_max_queue_size(QUEUE);
    }
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch.build()).build();
    let resource = Resource::builder()
        .with_service_name(settings.service)
        .with_attributes([
            KeyValue::new("service.namespace", "rollcall"),
            KeyValue::new("service.version", settings.version),
            KeyValue::new("service.instance.id", settings.instance.clone()),
            KeyValue::new("deployment.environment.name", settings.environment.clone()),
        ])
        .build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
    let layer = OpenTelemetryLayer::new(provider.tracer("rollcall"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false);
    (Some(layer), Guard { provider: Some(provider) })
}
