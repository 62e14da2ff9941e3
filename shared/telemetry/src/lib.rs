//! Logs, traces and metrics. A log line is for something that an operator would act on; traces and metrics leave by OTLP.
//! This crate depends on no other and knows rooms and Redis by name only. It is never given what must not leave the process:
//! states, payloads, credentials.
//!
//! - `span`: the list of spans. `metrics`: the list of metrics. `format`: the format of log lines.
//! - `heartbeat`: the only span that is built without `tracing`. `sampling`: which heartbeats are traced.
//! - `traced`: a span and a duration around code that is not Rollcall's own.
//! - `propagation`: traces across services. `otlp`: export. `log_limit`: a limit for log lines that clients can cause.
//!
//! Spans have the target [`TRACE`] and go only to the exporter. Log lines have any other target and go to stdout and to the
//! exporter. Without an exporter no subscriber wants spans, so `tracing` reduces each of them to one relaxed load.

mod format;
pub mod heartbeat;
mod log_limit;
pub mod metrics;
mod otlp;
pub mod propagation;
mod sampling;
pub mod span;
mod traced;

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

pub use format::LogFormat;
pub use log_limit::LogLimit;
pub use otlp::Guard;
pub use sampling::sample_heartbeat;
pub use traced::traced;

/// The target of every span.
pub const TRACE: &str = "trace";

/// The process that is observed, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service.name`
    pub service: &'static str,
    /// `service.version`
    pub version: &'static str,
    /// `service.instance.id`, the same as on the bus
    pub instance: String,
    /// `deployment.environment.name`
    pub environment: String,
    /// Which lines are logged, in the syntax of `RUST_LOG`.
    pub filter: String,
    /// The format of log lines.
    pub format: LogFormat,
    /// The share of plain heartbeats that are traced, 0 to 1.
    pub heartbeat_ratio: f64,
}

/// Service and instance, which every JSON log line has.
static PROCESS: OnceLock<(String, String)> = OnceLock::new();

/// Starts logging and, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set, exports traces, metrics and logs by OTLP. To be called once,
/// before the runtime starts: the exporter's blocking client must not be built on it.
pub fn init(settings: &Settings) -> Guard {
    let _ = PROCESS.set((settings.service.to_owned(), settings.instance.clone()));
    let otlp::Layers { spans, lines, guard } = otlp::begin(settings);
    // Without an exporter no heartbeat is sampled.
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

/// Checks that `text` is a filter that [`init`] accepts.
///
/// # Errors
/// What is wrong with the filter.
pub fn check_filter(text: &str) -> Result<(), impl fmt::Display> {
    EnvFilter::try_new(text).map(|_| ())
}

/// What is wrong with the variables of the exporter (`OTEL_EXPORTER_OTLP_…`), by the name of the variable. Nothing if nothing is
/// exported.
pub fn check_exporter() -> BTreeMap<String, String> {
    otlp::problems()
}
