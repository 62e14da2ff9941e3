//! Spans as the body of an OTLP request (`opentelemetry/proto/trace/v1/trace.proto`). The SDK's exporter first copies each
//! text of a span into a tree of messages and then measures that level by level, which costs more than all else that is
//! done for the span of a heartbeat. What is written here is read back by the SDK's own types in the tests.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::{
    KeyValue, SpanId, Value,
    trace::{SpanContext, SpanKind, Status},
};
use opentelemetry_sdk::{Resource, trace::SpanData};

/// What most spans take, in bytes.
const USUAL: usize = 512;

/// The kinds of fields (<https://protobuf.dev/programming-guides/encoding/>).
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const NESTED: u32 = 2;
const FIXED32: u32 = 5;

/// The resource that spans are of, as the beginning of every request.
pub(super) fn resource(resource: &Resource) -> Vec<u8> {
    let mut out = Vec::new();
    nested(&mut out, 1, |out| resource.iter().for_each(|(key, value)| attribute(out, 1, key.as_str(), value)));
    bytes(&mut out, 3, resource.schema_url().unwrap_or_default().as_bytes());
    out
}

/// An `ExportTraceServiceRequest`: `spans` of one `resource`, all made by `scope`.
pub(super) fn request(spans: &[SpanData], scope: &str, resource: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(resource.len() + spans.len() * USUAL);
    nested(&mut out, 1, |out| {
        out.extend(resource);
        nested(out, 2, |out| {
            nested(out, 1, |out| bytes(out, 1, scope.as_bytes()));
            spans.iter().for_each(|one| nested(out, 2, |out| span(out, one)));
        });
    });
    out
}

fn span(out: &mut Vec<u8>, span: &SpanData) {
    context(out, &span.span_context, 16, span.parent_span_is_remote);
    if span.parent_span_id != SpanId::INVALID {
        bytes(out, 4, &span.parent_span_id.to_bytes());
    }
    bytes(out, 5, span.name.as_bytes());
    let kind = match span.span_kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    };
    number(out, 6, kind);
    time(out, 7, span.start_time);
    time(out, 8, span.end_time);
    attributes(out, 9, &span.attributes);
    number(out, 10, span.dropped_attributes_count.into());
    for event in span.events.iter() {
        nested(out, 11, |out| {
            time(out, 1, event.timestamp);
            bytes(out, 2, event.name.as_bytes());
            attributes(out, 3, &event.attributes);
            number(out, 4, event.dropped_attributes_count.into());
        });
    }
    number(out, 12, span.events.dropped_count.into());
    for link in span.links.iter() {
        nested(out, 13, |out| {
            context(out, &link.span_context, 6, link.span_context.is_remote());
            attributes(out, 4, &link.attributes);
            number(out, 5, link.dropped_attributes_count.into());
        });
    }
    number(out, 14, span.links.dropped_count.into());
    nested(out, 15, |out| match &span.status {
        Status::Unset => {}
        Status::Ok => number(out, 3, 1),
        Status::Error { description } => {
            bytes(out, 2, description.as_bytes());
            number(out, 3, 2);
        }
    });
}

/// What a span and a link begin with, and their `flags`: those of W3C, that the next one is known, and the next one,
/// whether the parent (or what is linked) is of another process.
fn context(out: &mut Vec<u8>, context: &SpanContext, flags: u32, remote: bool) {
    bytes(out, 1, &context.trace_id().to_bytes());
    bytes(out, 2, &context.span_id().to_bytes());
    bytes(out, 3, context.trace_state().header().as_bytes());
    tag(out, flags, FIXED32);
    out.extend((u32::from(context.trace_flags().to_u8()) | 0x100 | u32::from(remote) << 9).to_le_bytes());
}

fn attributes(out: &mut Vec<u8>, field: u32, attributes: &[KeyValue]) {
    attributes.iter().for_each(|one| attribute(out, field, one.key.as_str(), &one.value));
}

fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &Value) {
    nested(out, field, |out| {
        bytes(out, 1, key.as_bytes());
        // One of several fields, which is there also if it is zero or empty.
        nested(out, 2, |out| match value {
            Value::Bool(yes) => varint_field(out, 2, u64::from(*yes)),
            Value::I64(number) => varint_field(out, 3, *number as u64),
            Value::F64(number) => {
                tag(out, 4, FIXED64);
                out.extend(number.to_le_bytes());
            }
            // Lists too, which no span of ours has.
            text => nested(out, 1, |out| out.extend(text.as_str().as_bytes())),
        });
    });
}

/// A message within a message. Its length stands before it and is known behind it; for most one byte is enough.
fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, NESTED);
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::new();
        varint(&mut prefix, length as u64);
        out.splice(start..=start, prefix);
    }
}

fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        tag(out, field, NESTED);
        varint(out, bytes.len() as u64);
        out.extend(bytes);
    }
}

fn number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        varint_field(out, field, number);
    }
}

fn varint_field(out: &mut Vec<u8>, field: u32, number: u64) {
    tag(out, field, VARINT);
    varint(out, number);
}

fn time(out: &mut Vec<u8>, field: u32, time: SystemTime) {
    tag(out, field, FIXED64);
    out.extend((time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64).to_le_bytes());
}

fn tag(out: &mut Vec<u8>, field: u32, kind: u32) {
    varint(out, u64::from(field << 3 | kind));
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, time::Duration};

    use opentelemetry::{
        InstrumentationScope, TraceFlags, TraceId,
        trace::{Event, Link, TraceState},
    };
    use opentelemetry_proto::{
        tonic::collector::trace::v1::ExportTraceServiceRequest,
        transform::trace::tonic::group_spans_by_resource_and_scope,
    };
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use prost::Message as _;

    use super::*;

    fn place(id: u64, remote: bool, state: &[(&str, &str)]) -> SpanContext {
        let state = TraceState::from_key_value(state.iter().copied()).unwrap();
        SpanContext::new(TraceId::from(u128::from(id) << 64 | 3), SpanId::from(id), TraceFlags::SAMPLED, remote, state)
    }

    fn attributes_of(text: &str) -> Vec<KeyValue> {
        vec![
            KeyValue::new("text", text.to_owned()),
            KeyValue::new("empty", ""),
            KeyValue::new("yes", true),
            KeyValue::new("no", false),
            KeyValue::new("zero", 0_i64),
            KeyValue::new("below", -1_i64),
            KeyValue::new("most", i64::MAX),
            KeyValue::new("share", 0.25),
        ]
    }

    /// A span in which everything depends on `n`, and all lengths are there: none, short, and of two and three bytes.
    fn span_of(n: usize) -> SpanData {
        let text = "é".repeat([0, 1, 62, 63, 64, 65, 8_191, 8_192, 20_000][n % 9]);
        let at = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
        let mut events = SpanEvents::default();
        events.events = (0..n % 3).map(|_| Event::new(text.clone(), at(9), attributes_of(&text), n as u32)).collect();
        events.dropped_count = n as u32 % 2;
        let mut links = SpanLinks::default();
        let link =
            |one: usize| Link::new(place(one as u64 + 1, one == 1, &[("a", "b"), ("c", "d")]), attributes_of("x"), 200);
        links.links = (0..n % 4).map(link).collect();
        links.dropped_count = n as u32 % 5;
        let kinds = [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
        SpanData {
            span_context: place(n as u64 + 1, false, if n.is_multiple_of(2) { &[] } else { &[("vendor", "1")] }),
            parent_span_id: SpanId::from(n as u64 % 3),
            parent_span_is_remote: n % 3 == 1,
            span_kind: kinds[n % 5].clone(),
            name: if n.is_multiple_of(2) { Cow::Borrowed("name") } else { Cow::Owned(text.clone()) },
            start_time: at(n as u64 % 2 * 1_700_000_000_123_456_789),
            end_time: at(1_700_000_000_123_456_789 + n as u64),
            attributes: if n.is_multiple_of(7) { Vec::new() } else { attributes_of(&text) },
            dropped_attributes_count: n as u32 * 100,
            events,
            links,
            status: [Status::Unset, Status::Ok, Status::error(""), Status::error(text)][n % 4].clone(),
            instrumentation_scope: InstrumentationScope::builder("rollcall").build(),
        }
    }

    #[test]
    fn it_says_what_the_sdk_would() {
        let told = Resource::builder_empty()
            .with_schema_url([KeyValue::new("service.name", "tests")], "https://schema")
            .build();
        for resource_told in [Resource::builder().with_attributes(attributes_of("of all")).build(), told] {
            for count in [1, 2, 420] {
                let spans: Vec<_> = (0..count).map(span_of).collect();
                let ours = request(&spans, "rollcall", &resource(&resource_told));
                let ours = ExportTraceServiceRequest::decode(&*ours).unwrap();
                let resource_spans = group_spans_by_resource_and_scope(spans, &(&resource_told).into());
                assert_eq!(ours, ExportTraceServiceRequest { resource_spans });
            }
        }
    }
}
