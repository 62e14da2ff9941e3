//! Spans and metrics of one's own, as `docs/reference/telemetry.md` shows them: this file is what compiles.

use std::{sync::LazyLock, time::Instant};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram},
};
use rollcall_telemetry::{TRACE, propagation::TraceContext, traced};
use tracing::{Instrument as _, Span, field::Empty};

/// A room's history is written to the archive: `archive.write`.
pub fn archive(room: &str, events: usize) -> Span {
    tracing::info_span!(
        target: TRACE, "archive.write", otel.kind = "client", otel.status_code = Empty, "error.type" = Empty,
        presence.room_id = room, archive.events = events as i64, archive.bytes = Empty,
    )
}

static ARCHIVED: LazyLock<Counter<u64>> = LazyLock::new(|| {
    global::meter("archive")
        .u64_counter("archive.event.total")
        .with_unit("{event}")
        .with_description("Events archived.")
        .build()
});
static TOOK: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    let meter = global::meter("archive");
    let builder = meter.f64_histogram("archive.write.duration").with_unit("s");
    builder.with_description("How long writing took.").with_boundaries(vec![0.01, 0.05, 0.1, 0.5, 1.0, 5.0]).build()
});

async fn keep(trace: &TraceContext, room: &str, events: &[String]) {
    let began = Instant::now();
    let span = archive(room, events.len());
    trace.adopt(&span); // a child of what came over the bus; before it is entered
    match write(events).instrument(span.clone()).await {
        Ok(bytes) => drop(span.record("archive.bytes", bytes as i64)),
        Err(error) => rollcall_telemetry::span::fail(&span, "archive", &error.to_string()),
    }
    ARCHIVED.add(events.len() as u64, &[KeyValue::new("kind", "room")]);
    TOOK.record(began.elapsed().as_secs_f64(), &[]);
}

async fn publish_report(room: &str, events: &[String]) -> std::io::Result<usize> {
    let attributes = [KeyValue::new("presence.room_id", room.to_owned())];
    traced("report.publish", attributes, write(events)).await
}

async fn write(events: &[String]) -> std::io::Result<usize> {
    Ok(events.iter().map(String::len).sum())
}

#[tokio::main]
async fn main() {
    let events = ["a join".to_owned()];
    keep(&TraceContext::default(), "lobby", &events).await;
    let _ = publish_report("lobby", &events).await;
}
