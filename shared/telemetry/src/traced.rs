//! A span and a duration around code that is not Rollcall's own.

use std::{any::type_name, fmt::Display, future::Future, sync::LazyLock, time::Instant};

use opentelemetry::{KeyValue, global, metrics::Histogram};
use tracing::{Instrument as _, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{TRACE, span::fail};

/// How long operations took, by `operation` and `outcome` (`ok` or `error`).
static DURATION: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    let meter = global::meter("custom");
    let builder = meter.f64_histogram("custom.operation.duration").with_unit("s");
    let boundaries = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    builder.with_description("How long operations of an application took.").with_boundaries(boundaries).build()
});

/// Does `work` in a span with the name `operation`, a child of the current one, and records how long it took in the metric
/// `custom.operation.duration`. An error marks the span as failed, with its text; `error.type` is the name of its Rust type
/// (`std::io::error::Error`), so an error type of your own says more than a `String` or a box. Both exist only while an exporter is
/// configured.
///
/// `operation` becomes a label: a name from a fixed list, never one with an id in it. Attributes are only on the span, so ids may be
/// among them; payloads and credentials may not.
///
/// # Errors
/// Those of `work`.
pub async fn traced<T, E: Display>(
    operation: &'static str,
    attributes: impl IntoIterator<Item = KeyValue>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = tracing::info_span!(
        target: TRACE, "custom", otel.name = operation, otel.kind = "internal", otel.status_code = Empty, "error.type" = Empty,
    );
    if !span.is_disabled() {
        attributes.into_iter().for_each(|KeyValue { key, value, .. }| span.set_attribute(key, value));
    }
    let began = Instant::now();
    let done = work.instrument(span.clone()).await;
    if let Err(error) = &done {
        // The class of the error, as OpenTelemetry's conventions ask for: few values, and none of them names the operation again.
        fail(&span, type_name::<E>(), &error.to_string());
    }
    let outcome = if done.is_ok() { "ok" } else { "error" };
    let labels = [KeyValue::new("operation", operation), KeyValue::new("outcome", outcome)];
    DURATION.record(began.elapsed().as_secs_f64(), &labels);
    done
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{SpanId, Status};
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
    };
    use tracing::instrument::WithSubscriber as _;
    use tracing_subscriber::{layer::SubscriberExt as _, registry};

    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}
        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    struct DiskFull;

    impl Display for DiskFull {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("17 bytes are missing")
        }
    }

    #[tokio::test]
    async fn work_is_a_child_with_attributes_and_an_error_marks_it() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
        let subscriber = registry().with(crate::otlp::traces::layer(&provider));
        let inside = async {
            let parent = tracing::info_span!(target: TRACE, "parent");
            let both = async {
                let fine = traced("archive.write", [KeyValue::new("archive.events", 3)], async { Ok::<_, String>(7) });
                assert_eq!(fine.await, Ok(7));
                assert_eq!(traced("archive.read", [], async { Err::<(), _>(DiskFull) }).await, Err(DiskFull));
            };
            both.instrument(parent).await;
        };
        inside.with_subscriber(subscriber).await;
        let [fine, failed, parent] = <[SpanData; 3]>::try_from(std::mem::take(&mut *kept.0.lock().unwrap())).unwrap();
        assert_eq!((&*fine.name, &fine.status), ("archive.write", &Status::Unset));
        assert!(fine.attributes.contains(&KeyValue::new("archive.events", 3)), "{:?}", fine.attributes);
        for span in [&fine, &failed] {
            assert_ne!(span.parent_span_id, SpanId::INVALID);
            assert_eq!(span.parent_span_id, parent.span_context.span_id());
        }
        assert!(matches!(failed.status, Status::Error { .. }), "{:?}", failed.status);
        let kind = "rollcall_telemetry::traced::tests::DiskFull";
        assert!(failed.attributes.contains(&KeyValue::new("error.type", kind)), "{:?}", failed.attributes);
        let exception = &failed.events.events[0];
        assert_eq!(exception.name, "exception");
        for (key, value) in [("exception.type", kind), ("exception.message", "17 bytes are missing")] {
            assert!(exception.attributes.contains(&KeyValue::new(key, value)), "{:?}", exception.attributes);
        }
    }
}
