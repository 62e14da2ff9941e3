//! Export of log lines, in addition to stdout.

use std::{error::Error, sync::Arc, time::Duration};

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::WithHttpConfig as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{
        BatchConfigBuilder, BatchLogProcessor, LogBatch, LogExporter, LogProcessor, SdkLogRecord, SdkLoggerProvider,
    },
};

use super::{backlog::Backlog, client::Client, settings::Signal};

/// Lines that may wait. A line is under 1 KiB: 2 MiB together.
const QUEUE: usize = 2_048;

pub(super) fn begin(resource: Resource) -> Result<SdkLoggerProvider, Box<dyn Error>> {
    let backlog = Backlog::new(Signal::Logs.name(), "OTEL_BLRP_MAX_QUEUE_SIZE", QUEUE);
    let client = Client::new(Signal::Logs, Backlog::reasons(&backlog))?;
    let exporter = opentelemetry_otlp::LogExporter::builder().with_http().with_http_client(client).build()?;
    let batch = BatchConfigBuilder::default().with_max_queue_size(backlog.limit()).build();
    let exporter = Counted { inner: exporter, backlog: Arc::clone(&backlog) };
    let inner = BatchLogProcessor::builder(exporter).with_batch_config(batch).build();
    let processor = Bounded { inner, backlog };
    Ok(SdkLoggerProvider::builder().with_log_processor(processor).with_resource(resource).build())
}

/// Passes on lines as long as the backlog has room.
#[derive(Debug)]
struct Bounded {
    inner: BatchLogProcessor,
    backlog: Arc<Backlog>,
}

impl LogProcessor for Bounded {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.backlog.admit() {
            self.inner.emit(record, scope);
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

/// Removes exported batches from the backlog.
#[derive(Debug)]
struct Counted {
    inner: opentelemetry_otlp::LogExporter,
    backlog: Arc<Backlog>,
}

impl LogExporter for Counted {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        let result = self.inner.export(batch).await;
        self.backlog.finish(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
