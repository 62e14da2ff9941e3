//! How a log line looks: a sentence with fields for a terminal, or one flat JSON object for a machine.

use std::{
    fmt::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::SPEAKER;

/// The form of log lines (`LOG_FORMAT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = timestamp(now.as_secs(), now.subsec_millis());
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (service, instance) = SPEAKER.get().map_or(("", ""), |(s, i)| (s, i));
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

/// RFC 3339 in UTC, to the millisecond. The date is Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn timestamp(seconds: u64, millis: u32) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        assert_eq!(timestamp(0, 7), "1970-01-01T00:00:00.007Z");
        assert_eq!(timestamp(951_782_399, 0), "2000-02-28T23:59:59.000Z");
        assert_eq!(timestamp(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_795_392_000, 999), "2026-11-23T00:00:00.999Z");
    }
}
