//! The settings of the gateway; `default.toml` explains each.

use std::time::Duration;

use http::HeaderValue;
use service::Reader;

use crate::{auth, flow::budgets::Budgets, http::proxies::Proxies, liveness::Mode};

/// The settings, validated.
pub struct Config {
    /// `redis_url`, `redis_password_file`
    pub redis: bus::redis::Config,
    /// `port`
    pub port: u16,
    /// `cors_origins`; none means any.
    pub origins: Option<Vec<HeaderValue>>,
    /// `auth`, `jwt_…`
    pub(crate) auth: auth::Config,
    /// `trusted_proxies`
    pub(crate) proxies: Proxies,
    /// `presence_liveness`, `presence_ttl_ms`
    pub liveness: Mode,
    /// `ping_interval_ms`, `ping_timeout_ms`
    pub pings: Pings,
    /// `drain_ms`
    pub drain: Duration,
    /// `socket_events_per_s` and the other budgets
    pub(crate) budgets: Budgets,
}

/// Engine.IO's pings, which detect connections that broke without being closed.
#[derive(Debug, Clone, Copy)]
pub struct Pings {
    /// The time between pings.
    pub interval: Duration,
    /// How long a client may take to answer a ping.
    pub timeout: Duration,
}

impl Config {
    /// Reads the settings; the reader collects the problems.
    pub fn load(reader: &mut Reader) -> Option<Self> {
        let port = reader.within("port", 0..=65_535) as u16;
        let origins = reader.parse("cors_origins", origins, "must be * or a list of origins separated by commas");
        let proxies =
            reader.parse("trusted_proxies", Proxies::parse, "must be addresses or networks separated by commas");
        let ttl = Duration::from_millis(reader.within("presence_ttl_ms", 3_000..=3_600_000));
        let liveness = reader.parse("presence_liveness", |text| mode(text, ttl), "must be transport or heartbeat");
        let pings = Pings {
            interval: Duration::from_millis(reader.within("ping_interval_ms", 1_000..=300_000)),
            timeout: Duration::from_millis(reader.within("ping_timeout_ms", 1_000..=300_000)),
        };
        let budgets = Budgets::read(reader);
        let drain = Duration::from_millis(reader.within("drain_ms", 0..=600_000));
        let auth = auth::Config::read(reader);
        let redis = bus::redis::Config::read(reader)?;
        Some(Self {
            redis,
            port,
            origins: origins?,
            auth: auth?,
            proxies: proxies?,
            liveness: liveness?,
            pings,
            drain,
            budgets: budgets?,
        })
    }
}

fn mode(text: &str, ttl: Duration) -> Result<Mode, ()> {
    match text {
        "transport" => Ok(Mode::Transport),
        "heartbeat" => Ok(Mode::Heartbeat(ttl)),
        _ => Err(()),
    }
}

fn origins(text: &str) -> Result<Option<Vec<HeaderValue>>, ()> {
    if text.trim() == "*" {
        return Ok(None);
    }
    let origin = |text: &str| text.contains("://").then(|| text.parse().ok()).flatten().ok_or(());
    text.split(',').map(str::trim).map(origin).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::origins;

    #[test]
    fn origins_are_any_or_a_list() {
        assert_eq!(origins("*"), Ok(None));
        assert_eq!(origins("https://a.example, http://b:3000").unwrap().unwrap().len(), 2);
        assert_eq!(origins("a.example"), Err(()));
        assert_eq!(origins(""), Err(()));
    }
}
