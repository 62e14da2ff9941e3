//! W3C trace context (<https://www.w3.org/TR/trace-context/>) to and from text, for messages that cross services.

use std::{fmt::Write as _, str::FromStr as _};

use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The trace and span id of a span; empty if it is not traced. It becomes text only on the wire: heartbeats carry it too often
/// to format it earlier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceContext(Option<SpanContext>);

impl TraceContext {
    /// The context of `span`.
    pub fn of(span: &Span) -> Self {
        if span.is_disabled() {
            return Self::default();
        }
        Self::from(span.context().span().span_context())
    }

    pub(crate) fn span_context(&self) -> Option<&SpanContext> {
        self.0.as_ref()
    }

    /// Parses the two header values; empty if `traceparent` is missing or invalid.
    pub fn read(traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        Self(traceparent.and_then(|text| read(text, tracestate.unwrap_or(""))))
    }

    /// Whether there is no trace.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The `traceparent` header, including the sampled flag.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        let mut text = String::with_capacity(55);
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
        write!(text, "00-{trace:032x}-{span:016x}-{flags:02x}").ok()?;
        Some(text)
    }

    /// The `tracestate` header, if there is one.
    pub fn tracestate(&self) -> Option<String> {
        Some(self.0.as_ref()?.trace_state().header()).filter(|text| !text.is_empty())
    }

    /// Makes `span` a child of this context. To be called before the span is entered.
    pub fn adopt(&self, span: &Span) {
        if let Some(remote) = self.for_span(span) {
            let _ = span.set_parent(Context::new().with_remote_span_context(remote.clone()));
        }
    }

    /// Links `span` to this context.
    pub fn link(&self, span: &Span) {
        if let Some(remote) = self.for_span(span) {
            span.add_link(remote.clone());
        }
    }

    fn for_span(&self, span: &Span) -> Option<&SpanContext> {
        self.0.as_ref().filter(|_| !span.is_disabled())
    }
}

impl From<&SpanContext> for TraceContext {
    fn from(context: &SpanContext) -> Self {
        Self(Some(context.clone()).filter(SpanContext::is_valid))
    }
}

fn read(traceparent: &str, tracestate: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may have more parts; version 00 has exactly four.
    let known = version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
    if !known || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    let state = TraceState::from_str(tracestate).unwrap_or_default();
    let context = SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, state);
    Some(context).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_a_context() {
        let real = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::read(Some(real), Some("vendor=1"));
        assert_eq!(context.traceparent().as_deref(), Some(real));
        assert_eq!(context.tracestate().as_deref(), Some("vendor=1"));
        for text in [
            "",
            "x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(TraceContext::read(Some(text), None).is_empty(), "{text}");
        }
    }
}
