//! The two connections to Redis: one for commands, one for subscriptions. Every limit that fred leaves open is set here.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    error::Error,
    interfaces::ClientLike as _,
    types::{
        Builder,
        config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use service::Reader;
use tracing::{Instrument as _, Span};

/// How long a command may take. Shorter than a request's deadline, so that presence-state can still say why.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that is gone without a word (a pulled cable) is noticed after this.
const UNRESPONSIVE: Duration = Duration::from_secs(4);
const RECONNECT_DELAY_MS: u32 = 200;
/// Messages that the reading task may be behind before some are lost, which it is told.
const SUBSCRIPTION_BACKLOG: usize = 16_384;
const COMMAND_BUFFER: usize = 50_000;

/// The connections of one instance.
pub struct Redis {
    /// For commands and scripts.
    pub commands: Client,
    /// For subscriptions only.
    pub subscriber: Client,
}

/// Reads a Redis URL (`redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://`, `valkey://` …).
///
/// # Errors
/// It is none.
pub fn parse_url(url: &str) -> Result<Config, Error> {
    Config::from_url(url)
}

/// Reads `redis_url` and `redis_password_file`. What is wrong stays with the reader.
pub fn settings(reader: &mut Reader) -> Option<Config> {
    let config = reader.parse("redis_url", parse_url, "is no Redis URL");
    let password = reader.parse("redis_password_file", password, "cannot be read, or is empty");
    let mut config = config?;
    if let Some(password) = password? {
        config.password = Some(password);
    }
    Some(config)
}

/// The first line of the file at `path`, if there is to be one.
fn password(path: &str) -> Result<Option<String>, ()> {
    if path.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(drop)?;
    text.lines().next().filter(|line| !line.is_empty()).map(|line| Some(line.to_owned())).ok_or(())
}

/// Begins to connect and goes on trying for ever.
///
/// # Errors
/// The configuration cannot work.
pub fn connect(config: Config) -> Result<Redis, Error> {
    Ok(Redis { commands: client(config.clone(), 32)?, subscriber: client(config, SUBSCRIPTION_BACKLOG)? })
}

/// Waits for what Redis answers to a command (`script` where it is one) within `span`, and tells how long it took.
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

fn client(config: Config, broadcast_capacity: usize) -> Result<Client, Error> {
    let client = Builder::from_config(Config { fail_fast: false, ..config })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = broadcast_capacity;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            // A script that was cut off may have run: whoever sent it decides whether to repeat it.
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = COMMAND_BUFFER;
            connection.reconnect_on_auth_error = true;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_secs(1) };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_DELAY_MS))
        .build()?;
    client.connect();
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, file: &str) -> Result<Option<Config>, String> {
        let mut reader = Reader::open(&format!("redis_url = '{url}'\nredis_password_file = '{file}'")).unwrap();
        let config = settings(&mut reader);
        reader.finish(config).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_password_comes_from_the_file_before_the_url() {
        let file = std::env::temp_dir().join(format!("rollcall-password-{}", std::process::id()));
        let path = file.to_str().unwrap();
        let password = |url, file| read(url, file).unwrap().unwrap().password;
        std::fs::write(&file, "s@cret/:\n").unwrap();
        assert_eq!(password("redis://:other@h:1", path).as_deref(), Some("s@cret/:"));
        assert_eq!(password("redis-cluster://h:1", path).as_deref(), Some("s@cret/:"));
        assert_eq!(password("redis://:other@h:1", "").as_deref(), Some("other"));
        assert_eq!(password("redis://h:1", ""), None);
        std::fs::write(&file, "\n").unwrap();
        assert!(read("redis://h:1", path).unwrap_err().contains("REDIS_PASSWORD_FILE"));
        std::fs::remove_file(&file).unwrap();
        assert!(read("redis://h:1", path).unwrap_err().contains("REDIS_PASSWORD_FILE"));
    }
}
