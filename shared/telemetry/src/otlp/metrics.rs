//! Export of metrics. Each interval sends all of them, cumulative, so a collector that was away misses only the points in
//! between.

use std::{env, time::Duration};

use opentelemetry::{global, metrics::MeterProvider as _};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};

/// The interval, unless `OTEL_METRIC_EXPORT_INTERVAL` is set. The SDK's default of a minute is long for someone who waits for
/// a graph.
const INTERVAL: Duration = Duration::from_secs(10);

pub(super) fn begin(resource: Resource) -> Result<SdkMeterProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::MetricExporter::builder().with_http().build()?;
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
