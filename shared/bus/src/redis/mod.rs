//! The two connections to Redis: one for commands, one for subscriptions. Every limit that fred leaves open is set here.

mod config;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use fred::error::Error;
use fred::{
    clients::Client,
    error::ErrorKind,
    interfaces::ClientLike as _,
    types::{
        Builder, ConnectHandle,
        config::{Config as Server, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use tracing::{Instrument as _, Span};

pub use self::config::{Config, DEFAULT_PREFIX, InvalidConfig};
use crate::subjects::Subjects;

/// How long a command may take. Shorter than a request's deadline, so that presence-state can still say why.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that is gone without a word (a pulled cable) is noticed after this.
const UNRESPONSIVE: Duration = Duration::from_secs(4);
const RECONNECT_DELAY_MS: u32 = 200;
/// Messages that the reading task may be behind before some are lost, which is reported to it.
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
    /// What keeps the connections: for commands, for subscriptions.
    pub(crate) connections: [ConnectHandle; 2],
}

/// Begins to connect and tries forever.
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

/// Resolves when a client gives its connection up for good, which it does after errors of the configuration only.
pub(crate) async fn keep(connection: ConnectHandle) {
    if let Ok(Err(error)) = connection.await {
        tracing::error!(%error, "the connection to Redis cannot be kept with this configuration");
    }
}

/// Waits for what Redis answers to a command (`script` where it is one) within `span`, and records how long it took.
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
    telemetry::metrics::redis(command, script, took);
    span.record("redis.latency_ms", took.as_secs_f64() * 1e3);
    if let Err(error) = &result {
        telemetry::span::fail(&span, "redis", error.details());
    }
    result
}

/// Whether Redis itself answered with this error (`OOM …`, `READONLY …`, `LOADING …`), as against no answer. Redis' errors
/// begin with a code in capitals; those that fred makes up do not.
pub(crate) fn is_answer(error: &Error) -> bool {
    let code = error.details().split_whitespace().next().unwrap_or_default();
    !matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Tls)
        && code.len() >= 2
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// What fred says of a command that it could not write, while a cluster changes.
const UNSENT: &str = "Too many failed write attempts.";

/// Whether fred gave a command up before it was written: its queue was full, or no server of the cluster was known for it.
pub fn is_unsent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Backpressure | ErrorKind::Cluster) || error.details() == UNSENT
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
            // A script that was cut off may have run: its sender decides whether to repeat it.
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
        assert!(is_unsent(&error(ErrorKind::Unknown, UNSENT)));
        assert!(!is_unsent(&error(ErrorKind::Timeout, "Request timed out.")), "it may have been written");
    }
}
