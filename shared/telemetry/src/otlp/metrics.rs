//! Export of metrics. Each interval sends all of them, cumulative, so a collector that was away misses only the points in
//! between.

use std::{
    env,
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{global, metrics::MeterProvider as _};
use opentelemetry_otlp::WithHttpConfig as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};

use super::{client::Client, settings::Signal};

/// The interval, unless `OTEL_METRIC_EXPORT_INTERVAL` is set. The SDK's default of a minute is long for someone who waits for
/// a graph.
const INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn begin(resource: Resource) -> Result<SdkMeterProvider, Box<dyn Error>> {
    let client = Client::new(Signal::Metrics, log_changes())?;
    let exporter = opentelemetry_otlp::MetricExporter::builder().with_http().with_http_client(client).build()?;
    let mut reader = PeriodicReader::builder(exporter);
    if env::var_os("OTEL_METRIC_EXPORT_INTERVAL").is_none() {
        reader = reader.with_interval(INTERVAL);
    }
    let provider = SdkMeterProvider::builder().with_reader(reader.build()).with_resource(resource).build();
    crate::metrics::bind(provider.meter("rollcall"));
    // For libraries that create their own metrics.
    global::set_meter_provider(provider.clone());
    Ok(provider)
}

/// Logs the first failed request, and the first that is accepted after it. Other signals log what they drop.
fn log_changes() -> impl Fn(Result<(), String>) + Send + Sync {
    let failing = AtomicBool::new(false);
    move |ended| match ended {
        Ok(()) if failing.swap(false, Ordering::Relaxed) => tracing::info!(signal = "metrics", "OTLP export recovered"),
        Err(reason) if !failing.swap(true, Ordering::Relaxed) => {
            tracing::warn!(signal = "metrics", reason, "OTLP export failed (logged once until it recovers)");
        }
        _ => {}
    }
}
