//! The format of log lines: a sentence with fields for people, or one flat JSON object for machines.

use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

use opentelemetry::{Context, trace::TraceContextExt as _};
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::PROCESS;

/// The form of log lines (`LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

pub(crate) struct Lines {
    pub(crate) format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (service, instance) = PROCESS.get().map_or(("", ""), |(s, i)| (s, i));
        let level = event.metadata().level();
        match self.format {
            LogFormat::Json => {
                let mut line = Map::new();
                let mut put = |key: &str, value: &str| line.insert(key.to_owned(), value.into());
                put("timestamp", &time);
                put("level", level.as_str());
                put("message", &fields.message);
                put("service", service);
                put("instance", instance);
                put("target", event.metadata().target());
                // The span in which the line was written.
                let context = Context::current();
                let context = context.span().span_context().clone();
                if context.is_valid() {
                    put("trace_id", &context.trace_id().to_string());
                    put("span_id", &context.span_id().to_string());
                }
                line.extend(fields.rest);
                writeln!(out, "{}", Value::Object(line))
            }
            LogFormat::Text => {
                write!(out, "{} {level:>5} {service} {}", &time[11..23], fields.message)?;
                for (key, value) in &fields.rest {
                    match value {
                        Value::String(text) => write!(out, " {key}={text}")?,
                        other => write!(out, " {key}={other}")?,
                    }
                }
                if *level >= Level::DEBUG {
                    write!(out, " ({})", event.metadata().target())?;
                }
                writeln!(out)
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.rest.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.put(field, format!("{value:?}").into());
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}
