//! What recording a heartbeat costs.

use allocation_counter::measure;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{PeriodicReader, SdkMeterProvider, Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
};

use super::*;
use crate::{sample_heartbeat, span};

struct Nowhere;

impl PushMetricExporter for Nowhere {
    async fn export(&self, _: &ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

#[test]
fn a_heartbeat_that_is_not_traced_allocates_nothing() {
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(Nowhere).build()).build();
    bind(provider.meter("tests"));
    begin_gateway();
    let untraced = tracing::Span::none();
    let heartbeat = || {
        let _ = sample_heartbeat();
        operation(Operation::Heartbeat, Duration::from_micros(12));
        drop((span::script(&untraced, "presence_heartbeat", "key", 1), span::command(&untraced, "hgetall", "key")));
    };
    heartbeat();
    assert_eq!(measure(|| (0..100).for_each(|_| heartbeat())).count_total, 0);
    // The counter works: this allocation is counted.
    assert!(measure(|| drop(Box::new(1))).count_total > 0);
}
