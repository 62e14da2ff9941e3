//! W3C trace context (<https://www.w3.org/TR/trace-context/>) to and from text, for messages that cross services.

use std::collections::HashMap;

use opentelemetry::{
    Context,
    propagation::TextMapPropagator,
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A span's place in its trace, as it travels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`, with the flag that tells whether the trace is sampled.
    pub traceparent: Option<String>,
    /// `tracestate`
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The context of `span`; empty when nobody traces it.
    pub fn of(span: &Span) -> Self {
        if span.is_disabled() {
            return Self::default();
        }
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
        Self {
            traceparent: carrier.remove("traceparent"),
            tracestate: carrier.remove("tracestate").filter(|text| !text.is_empty()),
        }
    }

    /// Only a `traceparent`.
    pub fn from_traceparent(traceparent: &str) -> Self {
        Self { traceparent: Some(traceparent.to_owned()), tracestate: None }
    }

    /// Makes `span` a child of this context. To be called before the span is entered.
    pub fn adopt(&self, span: &Span) {
        if let Some(context) = self.context(span) {
            let _ = span.set_parent(context);
        }
    }

    /// Links `span` to this context.
    pub fn link(&self, span: &Span) {
        if let Some(context) = self.context(span) {
            span.add_link(context.span().span_context().clone());
        }
    }

    /// The span context that it names, if it is one.
    pub fn span_context(&self) -> Option<SpanContext> {
        let traceparent = self.traceparent.as_ref()?;
        let mut carrier = HashMap::from([("traceparent".to_owned(), traceparent.clone())]);
        if let Some(tracestate) = &self.tracestate {
            carrier.insert("tracestate".to_owned(), tracestate.clone());
        }
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
    }

    fn context(&self, span: &Span) -> Option<Context> {
        if span.is_disabled() {
            return None;
        }
        self.span_context().map(|remote| Context::new().with_remote_span_context(remote))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_traceparent_is_a_context() {
        let real = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::from_traceparent(real).span_context().unwrap();
        assert!(context.is_sampled() && context.is_remote());
        for text in ["", "x", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert_eq!(TraceContext::from_traceparent(text).span_context(), None, "{text}");
        }
    }
}
