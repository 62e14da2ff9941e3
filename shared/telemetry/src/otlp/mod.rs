//! Export of traces, metrics and logs by OTLP over HTTP. Each signal has its own thread and a bounded queue, and is sent in
//! batches. If the collector is slow or down, items are dropped and counted; nothing else is affected.

mod backlog;
mod logs;
mod metrics;
pub(crate) mod traces;

use std::{
    env,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, global};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    Resource,
    logs::{SdkLogger, SdkLoggerProvider},
    metrics::SdkMeterProvider,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Tracer},
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::Settings;

const FLUSH: Duration = Duration::from_secs(2);

/// Flushes the queues when the service ends.
#[derive(Default)]
pub struct Guard {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Guard {
    /// Flushes all three signals at once, for at most 2 s. To be called outside the runtime, after everything else has ended.
    pub fn shutdown(self) {
        let (done, finished) = mpsc::channel();
        let mut open = 0;
        let mut end = |last: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            open += 1;
            thread::spawn(move || {
                last();
                let _ = done.send(());
            });
        };
        if let Some(traces) = self.traces {
            end(Box::new(move || drop(traces.shutdown_with_timeout(FLUSH))));
        }
        if let Some(metrics) = self.metrics {
            end(Box::new(move || drop(metrics.shutdown_with_timeout(FLUSH))));
        }
        if let Some(logs) = self.logs {
            end(Box::new(move || drop(logs.shutdown_with_timeout(FLUSH))));
        }
        let deadline = Instant::now() + FLUSH;
        for _ in 0..open {
            let _ = finished.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// The layers for spans and log lines; `None` for a signal that is off.
pub(crate) struct Layers<S> {
    pub(crate) spans: Option<OpenTelemetryLayer<S, Tracer>>,
    pub(crate) lines: Option<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>>,
    pub(crate) guard: Guard,
}

/// Starts the export of every signal that the environment has an endpoint for.
pub(crate) fn begin<S>(settings: &Settings) -> Layers<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = resource(settings);
    // Metrics first: the backlogs of the others register theirs.
    let metrics =
        wanted("METRICS").then(|| metrics::begin(resource.clone())).and_then(|begun| or_warn("metrics", begun));
    let traces = wanted("TRACES").then(|| traces::begin(resource.clone())).and_then(|begun| or_warn("traces", begun));
    let logs = wanted("LOGS").then(|| logs::begin(resource)).and_then(|begun| or_warn("logs", begun));
    Layers {
        spans: traces.as_ref().map(traces::layer),
        lines: logs.as_ref().map(OpenTelemetryTracingBridge::new),
        guard: Guard { traces, metrics, logs },
    }
}

/// Whether a signal has an endpoint and is not switched off
/// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
fn wanted(signal: &str) -> bool {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = ["OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")];
    let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    !is_off && endpoint.iter().any(|name| set(name).is_some())
}

/// If an exporter cannot be built, its signal stays off; the service runs on.
fn or_warn<T>(signal: &str, begun: Result<T, ExporterBuildError>) -> Option<T> {
    begun.inspect_err(|error| eprintln!("{signal} are off: the OTLP exporter could not be built: {error}")).ok()
}

fn resource(settings: &Settings) -> Resource {
    Resource::builder()
        .with_service_name(settings.service)
        .with_attributes([
            KeyValue::new("service.namespace", "rollcall"),
            KeyValue::new("service.version", settings.version),
            KeyValue::new("service.instance.id", settings.instance.clone()),
            KeyValue::new("deployment.environment.name", settings.environment.clone()),
        ])
        .build()
}
