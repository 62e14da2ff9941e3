//! Metrics on their way out: cumulative, each interval all of them, so that a collector that was away misses nothing but
//! points in between.

use std::{env, time::Duration};

use opentelemetry::{global, metrics::MeterProvider as _};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};

/// `OTEL_METRIC_EXPORT_INTERVAL` wins over this. The SDK's default of a minute is long when somebody waits for a graph.
const EVERY: Duration = Duration::from_secs(10);

pub(super) fn begin(resource: Resource) -> Result<SdkMeterProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::MetricExporter::builder().with_http().build()?;
    let mut reader = PeriodicReader::builder(exporter);
    if env::var_os("OTEL_METRIC_EXPORT_INTERVAL").is_none() {
        reader = reader.with_interval(EVERY);
    }
    let provider = SdkMeterProvider::builder().with_reader(reader.build()).with_resource(resource).build();
    crate::metrics::bind(provider.meter("rollcall"));
    // For metrics of others' code, which are made where they are used.
    global::set_meter_provider(provider.clone());
    Ok(provider)
}
