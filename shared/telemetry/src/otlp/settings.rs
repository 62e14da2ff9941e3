//! The exporter's settings: the environment variables of OpenTelemetry
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>). What this exporter cannot do is refused at the start: a setting
//! that is ignored looks like a collector that is away.

use std::{collections::BTreeMap, env, time::Duration};

use reqwest::Url;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

/// The time for one request, unless a variable sets another.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Its name in log lines and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Its name in variables.
    fn variable(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

/// What is wrong with a value, if anything.
type Check = fn(&str) -> Option<String>;

/// The settings that are checked.
const CHECKS: [(&str, Check); 7] = [
    ("ENDPOINT", |url| {
        let is_url = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        (!is_url).then(|| "must be the collector's URL, http://host:4318 or https://host:4318".to_owned())
    }),
    ("PROTOCOL", |protocol| {
        (protocol != "http/protobuf")
            .then(|| format!("is {protocol}, but only http/protobuf is supported; collectors accept it on port 4318"))
    }),
    ("COMPRESSION", |compression| {
        (compression != "none").then(|| format!("is {compression}, but only none is supported"))
    }),
    ("TIMEOUT", |ms| {
        let is_time = ms.parse::<u64>().is_ok_and(|ms| ms > 0);
        (!is_time).then(|| format!("is {ms}, but must be a whole number of milliseconds above 0"))
    }),
    ("CERTIFICATE", |path| {
        read(path).is_none().then(|| format!("names {path}, which cannot be read or has no PEM certificate"))
    }),
    ("CLIENT_CERTIFICATE", |_| Some("is set, but client certificates are not supported".to_owned())),
    ("CLIENT_KEY", |_| Some("is set, but client certificates are not supported".to_owned())),
];

/// The environment, or that of a test.
pub(super) struct Variables<F>(F);

/// Those of this process.
pub(super) fn of_process() -> Variables<impl Fn(&str) -> Option<String>> {
    Variables(|name: &str| env::var(name).ok())
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// An empty variable counts as absent.
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The exporter's setting for a signal, with the name of the variable that has it: the signal's own before the common one.
    fn setting(&self, signal: Signal, setting: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{setting}", signal.variable());
        let common = format!("OTEL_EXPORTER_OTLP_{setting}");
        [own, common].into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    /// Whether a signal has an endpoint and is not switched off.
    pub(super) fn wanted(&self, signal: Signal) -> bool {
        let is_off = self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || self.get(&format!("OTEL_{}_EXPORTER", signal.variable())).is_some_and(|value| value == "none");
        !is_off && self.setting(signal, "ENDPOINT").is_some()
    }

    /// The time for one request.
    pub(super) fn timeout(&self, signal: Signal) -> Duration {
        let timeout = self.setting(signal, "TIMEOUT").and_then(|(_, text)| text.parse().ok());
        timeout.map_or(TIMEOUT, Duration::from_millis)
    }

    /// The certificates to trust instead of the system's; empty if no variable names a file of them.
    pub(super) fn certificates(&self, signal: Signal) -> Vec<CertificateDer<'static>> {
        self.setting(signal, "CERTIFICATE").and_then(|(_, path)| read(&path)).unwrap_or_default()
    }

    /// Whether a signal is sent over TLS.
    pub(super) fn is_tls(&self, signal: Signal) -> bool {
        self.setting(signal, "ENDPOINT")
            .is_some_and(|(_, url)| Url::parse(&url).is_ok_and(|url| url.scheme() == "https"))
    }

    /// What is wrong, by variable.
    pub(super) fn problems(&self) -> BTreeMap<String, String> {
        let wanted = Signal::ALL.into_iter().filter(|signal| self.wanted(*signal));
        wanted.flat_map(|signal| self.problems_of(signal)).collect()
    }

    fn problems_of(&self, signal: Signal) -> Vec<(String, String)> {
        let set = CHECKS.into_iter().filter_map(|(setting, check)| Some((self.setting(signal, setting)?, check)));
        set.filter_map(|((name, value), check)| Some((name, check(&value)?))).collect()
    }
}

/// The certificates in a file; `None` if there are none.
fn read(path: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path).ok()?.collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");

    fn variables(set: &[(&'static str, &'static str)]) -> Variables<impl Fn(&str) -> Option<String>> {
        let set = set.to_vec();
        Variables(move |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    fn problems(set: &[(&'static str, &'static str)]) -> Vec<String> {
        let problems = variables(set).problems();
        problems
            .into_iter()
            .map(|(name, what)| format!("{} {what}", name.trim_start_matches("OTEL_EXPORTER_OTLP_")))
            .collect()
    }

    #[test]
    fn what_the_exporter_cannot_do_is_refused() {
        for (name, value, said) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "PROTOCOL is grpc, but only http/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json", "LOGS_PROTOCOL is http/json, but"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317", "TRACES_ENDPOINT must be the collector's URL"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip", "METRICS_COMPRESSION is gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file", "CERTIFICATE names /no/such/file"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null", "CERTIFICATE names /dev/null"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem", "CLIENT_KEY is set"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "TIMEOUT is 10s, but must be"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "TRACES_TIMEOUT is 0, but must be"),
        ] {
            let said_of = problems(&[ENDPOINT, (name, value)]);
            assert!(said_of.len() == 1 && said_of[0].starts_with(said), "{name}={value}: {said_of:?}");
        }
        assert_eq!(problems(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]), [] as [&str; 0]);
        assert_eq!(problems(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "")]), [] as [&str; 0], "empty is absent");
    }

    #[test]
    fn a_signal_has_its_own_settings_and_one_that_is_off_needs_none() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let own = |signal: &str| [format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"), format!("OTEL_{signal}_EXPORTER")];
        let [traces, metrics, logs] = ["TRACES", "METRICS", "LOGS"].map(|signal| own(signal).map(|name| &*name.leak()));
        let http = |[name, _]: [&'static str; 2]| (name, "http/protobuf");
        assert_eq!(problems(&[ENDPOINT, grpc, http(traces), http(metrics)]).len(), 1);
        assert_eq!(problems(&[ENDPOINT, grpc, http(traces), http(metrics), http(logs)]).len(), 0);
        assert_eq!(problems(&[ENDPOINT, grpc, http(traces), http(metrics), (logs[1], "none")]).len(), 0);
        assert_eq!(problems(&[ENDPOINT, grpc, ("OTEL_SDK_DISABLED", "true")]).len(), 0);
        assert_eq!(problems(&[grpc]).len(), 0, "nothing is exported");
        let set = variables(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500")]);
        assert_eq!([Signal::Traces, Signal::Logs].map(|one| set.timeout(one).as_millis()), [500, 10_000]);
        assert!(set.is_tls(Signal::Logs));
    }
}
