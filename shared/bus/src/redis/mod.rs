//! The two connections to Redis: one for commands, one for subscriptions. Sets every limit that fred leaves open.
//!
//! - `config`: where Redis is. `reason`: why it refuses or cannot be reached, for people.

mod config;
mod reason;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use fred::error::Error;
use fred::{
    clients::Client,
    error::ErrorKind,
    interfaces::{ClientLike as _, EventInterface as _},
    types::{
        Builder, ConnectHandle,
        config::{Config as Server, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use tracing::{Instrument as _, Span};

pub use self::config::{Config, DEFAULT_PREFIX, InvalidConfig};
pub(crate) use self::reason::reason;
use crate::subjects::Subjects;

/// How long a command may take. Shorter than a request's deadline, so that presence-state can still answer why it failed.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that vanished without closing its connection (a pulled cable) is noticed after this time.
const UNRESPONSIVE: Duration = Duration::from_secs(4);
const RECONNECT_DELAY_MS: u32 = 200;
/// Messages by which the reading task may lag. Beyond it messages are lost, and the task is notified.
const SUBSCRIPTION_BACKLOG: usize = 16_384;
const COMMAND_BUFFER: usize = 50_000;

/// The connections of one instance.
pub struct Redis {
    /// For commands and scripts.
    pub commands: Client,
    /// For subscriptions only.
    pub subscriber: Client,
    /// The names of channels and keys there.
    pub subjects: Subjects,
    /// The tasks that keep the connections: for commands, for subscriptions.
    pub(crate) connections: [ConnectHandle; 2],
}

impl Redis {
    /// Waits for the connection for commands.
    ///
    /// # Errors
    /// Why an attempt failed, in the words of Redis or the system.
    pub async fn connected(&self) -> Result<(), String> {
        // fred tries again and does not tell those who wait.
        let mut errors = self.commands.error_rx();
        let connected = tokio::select! {
            connected = self.commands.wait_for_connect() => connected,
            Ok((error, _)) = errors.recv() => Err(error),
        };
        connected.map_err(|error| reason(&self.commands, &error, false))
    }
}

/// Starts to connect, and retries forever.
///
/// # Errors
/// The configuration cannot work.
pub fn connect(config: Config) -> Result<Redis, InvalidConfig> {
    let Config { server, prefix } = config;
    let invalid = |error: Error| InvalidConfig(format!("cannot work: {}", error.details()));
    let (commands, commanding) = client(server.clone(), 32).map_err(invalid)?;
    let (subscriber, subscribing) = client(server, SUBSCRIPTION_BACKLOG).map_err(invalid)?;
    Ok(Redis { commands, subscriber, subjects: Subjects::new(&prefix), connections: [commanding, subscribing] })
}

/// Resolves when a client gives its connection up, which happens only after errors of the configuration.
pub(crate) async fn run_connection(connection: ConnectHandle) {
    if let Ok(Err(error)) = connection.await {
        tracing::error!(%error, "Redis connection given up: the configuration cannot work");
    }
}

/// Waits for the answer to a command (or to `script`) within `span`, and records the latency.
///
/// # Errors
/// Those of the command.
pub async fn observed<T>(
    span: Span,
    command: &'static str,
    script: &'static str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let began = Instant::now();
    let result = answer.instrument(span.clone()).await;
    let took = began.elapsed();
    rollcall_telemetry::metrics::redis(command, script, took);
    span.record("redis.latency_ms", took.as_secs_f64() * 1e3);
    if let Err(error) = &result {
        rollcall_telemetry::span::fail(&span, "redis", error.details());
    }
    result
}

/// Whether this error is an answer of Redis (`OOM …`, `READONLY …`, `LOADING …`) and not a missing answer. Redis' errors begin
/// with a code in capitals; those of fred do not.
pub(crate) fn is_answer(error: &Error) -> bool {
    let code = error.details().split_whitespace().next().unwrap_or_default();
    !matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Tls)
        && code.len() >= 2
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// fred's errors for a command that it could not write, for example while a cluster changes or its router restarts.
const UNSENT_TEXTS: [&str; 2] = ["Too many failed write attempts.", "Failed to route command."];

/// Whether fred gave a command up before it was written: its queue was full, or it knew no server for the hash slot. See F8 in
/// `docs/internals/libraries.md`.
pub fn is_unsent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Backpressure | ErrorKind::Cluster) || UNSENT_TEXTS.contains(&error.details())
}

fn client(server: Server, broadcast_capacity: usize) -> Result<(Client, ConnectHandle), Error> {
    let client = Builder::from_config(Server { fail_fast: false, ..server })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = broadcast_capacity;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            // A script whose connection broke may have run; only its sender knows whether repeating is harmless.
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = COMMAND_BUFFER;
            connection.reconnect_on_auth_error = true;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_secs(1) };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_DELAY_MS))
        .build()?;
    let connection = client.connect();
    Ok((client, connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_redis_is_an_answer() {
        let error = |kind, text: &'static str| Error::new(kind, text);
        for text in ["OOM command not allowed", "READONLY You can't write", "LOADING Redis is", "ERR no"] {
            assert!(is_answer(&error(ErrorKind::Unknown, text)), "{text}");
        }
        assert!(is_answer(&error(ErrorKind::Cluster, "CLUSTERDOWN The cluster is down")));
        assert!(!is_answer(&error(ErrorKind::Timeout, "Request timed out.")));
        assert!(!is_answer(&error(ErrorKind::IO, "IO error")));
        assert!(!is_answer(&error(ErrorKind::Cluster, "Missing server for hash slot 7")));
        assert!(is_unsent(&error(ErrorKind::Cluster, "Missing server for hash slot 7")));
        assert!(is_unsent(&error(ErrorKind::Backpressure, "Max number of commands reached")));
        UNSENT_TEXTS.into_iter().for_each(|text| assert!(is_unsent(&error(ErrorKind::Unknown, text)), "{text}"));
        assert!(!is_unsent(&error(ErrorKind::Timeout, "Request timed out.")), "it may have been written");
    }
}
