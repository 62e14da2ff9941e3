//! The settings of the gateway; `default.toml` explains each.

use std::{num::NonZeroU32, time::Duration};

use rollcall_service::Reader;

use crate::{
    auth,
    flow::budgets::Budgets,
    http::{origins::Origins, path::SocketIoPath, playground, proxies::Proxies, sessions::Limits},
    liveness::Mode,
};

/// The settings, validated.
pub struct Config {
    /// `redis_url`, `redis_password_file`
    pub redis: rollcall_bus::redis::Config,
    /// `port`
    pub port: u16,
    /// `socket_io_path`
    pub(crate) path: SocketIoPath,
    /// `cors_origins`
    pub(crate) origins: Origins,
    /// `auth`, `jwt_…`, `metadata_outsiders`
    pub(crate) auth: auth::Config,
    /// `trusted_proxies`
    pub(crate) proxies: Proxies,
    /// `max_sessions`, `address_handshakes_per_s`
    pub(crate) limits: Limits,
    /// `presence_liveness`, `presence_ttl_ms`
    pub liveness: Mode,
    /// `ping_interval_ms`, `ping_timeout_ms`
    pub pings: Pings,
    /// `drain_ms`
    pub drain: Duration,
    /// `socket_events_per_s` and the other budgets
    pub(crate) budgets: Budgets,
    /// `playground`, with `playground_traces`
    pub(crate) playground: Option<String>,
}

/// Engine.IO's pings, which detect connections that broke without being closed.
#[derive(Debug, Clone, Copy)]
pub struct Pings {
    /// The time between pings.
    pub interval: Duration,
    /// How long a client may take to answer a ping.
    pub timeout: Duration,
}

impl Pings {
    /// A client that sent nothing for this long has missed a ping. The next ping follows its answer at the latest after one
    /// interval, or at once if the answer took longer than that.
    pub(crate) fn silent(self) -> Duration {
        self.interval + self.timeout
    }
}

impl Config {
    /// Reads the settings; the reader collects the problems.
    pub fn load(reader: &mut Reader) -> Option<Self> {
        let port = reader.within("port", 0..=65_535) as u16;
        let path = explained(reader, "socket_io_path", SocketIoPath::parse);
        let origins = explained(reader, "cors_origins", Origins::parse);
        let proxies = explained(reader, "trusted_proxies", Proxies::parse);
        let limits = Limits {
            sessions: reader.within("max_sessions", 1..=1_000_000) as usize,
            address_handshakes_per_s: NonZeroU32::new(reader.within("address_handshakes_per_s", 0..=100_000) as u32),
        };
        let ttl = Duration::from_millis(reader.within("presence_ttl_ms", 3_000..=3_600_000));
        let liveness = reader.parse("presence_liveness", |text| mode(text, ttl), "must be transport or heartbeat");
        let pings = Pings {
            interval: Duration::from_millis(reader.within("ping_interval_ms", 1_000..=300_000)),
            timeout: Duration::from_millis(reader.within("ping_timeout_ms", 1_000..=300_000)),
        };
        let budgets = Budgets::read(reader);
        let drain = Duration::from_millis(reader.within("drain_ms", 0..=600_000));
        let auth = auth::Config::read(reader);
        let playground = playground(reader);
        let redis = rollcall_bus::redis::Config::read(reader)?;
        let (path, origins, auth, proxies, liveness, budgets) = (path?, origins?, auth?, proxies?, liveness?, budgets?);
        Some(Self { redis, port, path, origins, auth, proxies, limits, liveness, pings, drain, budgets, playground })
    }
}

fn mode(text: &str, ttl: Duration) -> Result<Mode, ()> {
    match text {
        "transport" => Ok(Mode::Transport),
        "heartbeat" => Ok(Mode::Heartbeat(ttl)),
        _ => Err(()),
    }
}

/// The value of `key`; `parse` says what is wrong with it.
fn explained<T>(reader: &mut Reader, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
    parse(&reader.get::<String>(key)).map_err(|problem| reader.problem(key, problem)).ok()
}

/// The address of the traces that the page links to, if there is the page.
fn playground(reader: &mut Reader) -> Option<String> {
    let on_or_off = |text: &str| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(()),
    };
    let is_on = reader.parse("playground", on_or_off, "must be on or off");
    let what = "must be where Jaeger's pages are, like http://127.0.0.1:16686, or empty";
    let traces = reader.parse("playground_traces", playground::parse_traces, what);
    traces.filter(|_| is_on == Some(true))
}
