//! Export of traces, metrics and logs by OTLP over HTTP. Each signal has its own thread and a bounded queue, and is sent in
//! batches. If the collector is slow or down, items are dropped and counted; nothing else is affected.
//!
//! - `settings`: the environment variables. `client`: HTTP and TLS. `backlog`: what waits, and what was dropped.
//! - `traces`, `metrics`, `logs`: the export of each signal.

mod backlog;
mod client;
mod logs;
mod metrics;
mod settings;
pub(crate) mod traces;

use std::{
    collections::BTreeMap,
    error::Error,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, global};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::{
    Resource,
    logs::{SdkLogger, SdkLoggerProvider},
    metrics::SdkMeterProvider,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Tracer},
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use self::settings::{Signal, of_process};
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
    let metrics = begin_if_wanted(Signal::Metrics, || metrics::begin(resource.clone()));
    let traces = begin_if_wanted(Signal::Traces, || traces::begin(resource.clone()));
    let logs = begin_if_wanted(Signal::Logs, || logs::begin(resource.clone()));
    Layers {
        spans: traces.as_ref().map(traces::layer),
        lines: logs.as_ref().map(OpenTelemetryTracingBridge::new),
        guard: Guard { traces, metrics, logs },
    }
}

/// What is wrong with the exporter's variables, by the name of the variable.
pub(crate) fn problems() -> BTreeMap<String, String> {
    of_process().problems()
}

/// If an exporter cannot be built, its signal stays off; the service runs on.
fn begin_if_wanted<T>(signal: Signal, begin: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Option<T> {
    let begun = of_process().wanted(signal).then(begin)?;
    let name = signal.name();
    begun.inspect_err(|error| eprintln!("{name} are off: the OTLP exporter could not be built: {error}")).ok()
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
