//! How Rollcall is seen from outside: one log line per thing that an operator would act on, traces and metrics by OTLP.
//! A leaf: it knows nothing of rooms or Redis but their names; what may never leave (states, payloads, credentials) is
//! never handed to it.
//!
//! - `span`: the list of spans. `metrics`: the list of metrics. `format`: how a log line looks.
//! - `heartbeat`: the one span that is built without `tracing`. `otlp`: how they leave. `propagation`: traces across services. `sampling`: which heartbeats are traced.
//!
//! Spans have the target [`TRACE`] and go to the exporter alone; log lines have any other target and go to stdout and to
//! the exporter. With no exporter configured nobody asks for spans, so `tracing` turns each of them into one relaxed load.

mod format;
pub mod heartbeat;
pub mod metrics;
mod otlp;
pub mod propagation;
mod sampling;
mod seldom;
pub mod span;

use std::{fmt, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

pub use format::LogFormat;
pub use otlp::Guard;
pub use sampling::sample_heartbeat;
pub use seldom::Seldom;

/// The target of every span.
pub const TRACE: &str = "trace";

/// Who is speaking and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service.name`
    pub service: &'static str,
    /// `service.version`
    pub version: &'static str,
    /// `service.instance.id`, the bus instance
    pub instance: String,
    /// `deployment.environment.name`
    pub environment: String,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
    /// The share of plain heartbeats that are traced, 0 to 1.
    pub heartbeat_ratio: f64,
}

static SPEAKER: OnceLock<(String, String)> = OnceLock::new();

/// Begins logging and, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set, traces, metrics and logs by OTLP. To be called once, before the runtime starts:
/// the exporter's blocking client may not be built on it.
pub fn init(settings: &Settings) -> Guard {
    let _ = SPEAKER.set((settings.service.to_owned(), settings.instance.clone()));
    let otlp::Layers { spans, lines, guard } = otlp::begin(settings);
    // With nowhere to go none is taken.
    if spans.is_some() {
        sampling::set_ratio(settings.heartbeat_ratio);
    }
    let wanted = || EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let stdout = tracing_subscriber::fmt::layer()
        .event_format(format::Lines { format: settings.format })
        .with_filter(wanted())
        .with_filter(filter_fn(|meta| meta.target() != TRACE));
    let lines = lines.map(|layer| layer.with_filter(wanted()).with_filter(filter_fn(|meta| meta.target() != TRACE)));
    let spans = spans.map(|layer| layer.with_filter(filter_fn(|meta| meta.target() == TRACE)));
    tracing_subscriber::registry().with(spans).with(lines).with(stdout).init();
    guard
}

/// Whether `text` is a filter that [`init`] understands.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(text: &str) -> Result<(), impl fmt::Display> {
    EnvFilter::try_new(text).map(|_| ())
}
