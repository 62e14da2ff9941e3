//! The two connections to Redis: one for commands, one for subscriptions. Every limit that fred leaves open is set here.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike as _,
    types::{
        Builder,
        config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use service::Reader;
use tracing::{Instrument as _, Span};

use crate::subjects::Subjects;

/// How long a command may take. Shorter than a request's deadline, so that presence-state can still say why.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that is gone without a word (a pulled cable) is noticed after this.
const UNRESPONSIVE: Duration = Duration::from_secs(4);
const RECONNECT_DELAY_MS: u32 = 200;
/// Messages that the reading task may be behind before some are lost, which it is told.
const SUBSCRIPTION_BACKLOG: usize = 16_384;
const COMMAND_BUFFER: usize = 50_000;

/// What every key and channel begins with unless `REDIS_KEY_PREFIX` says otherwise.
pub const DEFAULT_PREFIX: &str = "prs";

/// Where Redis is, and what keys and channels begin with there.
#[derive(Debug, Clone)]
pub struct Settings {
    config: Config,
    prefix: String,
}

impl Settings {
    /// The same Redis with other names.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }
}

/// The connections of one instance.
pub struct Redis {
    /// For commands and scripts.
    pub commands: Client,
    /// For subscriptions only.
    pub subscriber: Client,
    /// The names of channels and keys there.
    pub subjects: Subjects,
}

/// Why only database 0 is taken.
const DATABASE: &str = "must name no database but 0: channels are not kept apart by database, so that two systems on one Redis \
                        would hear each other. Give each its own REDIS_KEY_PREFIX instead";

/// Reads a Redis URL (`redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://`, `valkey://` …).
///
/// # Errors
/// It is none, or names a database other than 0: pub/sub channels are the same in all databases of a server.
pub fn parse_url(url: &str) -> Result<Settings, Error> {
    let config = Config::from_url(url)?;
    match config.database {
        None | Some(0) => Ok(Settings { config, prefix: DEFAULT_PREFIX.to_owned() }),
        Some(_) => Err(Error::new(ErrorKind::Config, DATABASE)),
    }
}

/// Reads `redis_url`, `redis_password_file` and `redis_key_prefix`. What is wrong stays with the reader.
pub fn settings(reader: &mut Reader) -> Option<Settings> {
    // Read twice: what is wrong with it is one of two things.
    let is_url = reader.parse("redis_url", Config::from_url, "is no Redis URL").is_some();
    let settings = if is_url { reader.parse("redis_url", parse_url, DATABASE) } else { None };
    let password = reader.parse("redis_password_file", password, "cannot be read, or is empty");
    let prefix = reader.parse(
        "redis_key_prefix",
        prefix,
        "must be 1 to 64 letters, digits or any of _ . : - (a brace would change where keys lie on a cluster)",
    );
    let mut settings = Settings { prefix: prefix?, ..settings? };
    if let Some(password) = password? {
        settings.config.password = Some(password);
    }
    Some(settings)
}

fn prefix(text: &str) -> Result<String, ()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| text.to_owned()).ok_or(())
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
pub fn connect(settings: Settings) -> Result<Redis, Error> {
    let Settings { config, prefix } = settings;
    let subjects = Subjects::new(&prefix);
    Ok(Redis { commands: client(config.clone(), 32)?, subscriber: client(config, SUBSCRIPTION_BACKLOG)?, subjects })
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

/// Whether Redis itself answered with this error (`OOM …`, `READONLY …`, `LOADING …`), as against no answer. Redis' errors
/// begin with a code in capitals; those that fred makes up do not.
pub(crate) fn is_answer(error: &Error) -> bool {
    let code = error.details().split_whitespace().next().unwrap_or_default();
    !matches!(error.kind(), ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Tls)
        && code.len() >= 2
        && code.bytes().all(|byte| byte.is_ascii_uppercase())
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

    fn read(url: &str, file: &str) -> Result<Option<Settings>, String> {
        read_with(url, file, DEFAULT_PREFIX)
    }

    fn read_with(url: &str, file: &str, prefix: &str) -> Result<Option<Settings>, String> {
        let toml = format!("redis_url = '{url}'\nredis_password_file = '{file}'\nredis_key_prefix = '{prefix}'");
        let mut reader = Reader::open(&toml).unwrap();
        let config = settings(&mut reader);
        reader.finish(config).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_prefix_is_plain_text() {
        assert_eq!(read_with("redis://h:1", "", "staging:eu-1").unwrap().unwrap().prefix, "staging:eu-1");
        for prefix in ["{a}", "a b", &"x".repeat(65)] {
            assert!(read_with("redis://h:1", "", prefix).unwrap_err().contains("REDIS_KEY_PREFIX"), "{prefix}");
        }
    }

    #[test]
    fn a_database_is_refused_with_the_reason() {
        for url in ["redis://h:1", "redis://h:1/", "redis://h:1/0"] {
            assert!(read(url, "").unwrap().is_some(), "{url}");
        }
        for url in ["redis://h:1/1", "rediss://u:p@h:1/15", "redis-sentinel://h:1/2?sentinelServiceName=x"] {
            let problems = read(url, "").unwrap_err();
            assert!(problems.contains("REDIS_URL") && problems.contains("REDIS_KEY_PREFIX"), "{url}: {problems}");
            assert!(parse_url(url).is_err());
        }
        let problems = read("no url", "").unwrap_err();
        assert!(problems.contains("1 problem") && problems.contains("is no Redis URL"), "{problems}");
    }

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
    }

    #[test]
    fn the_password_comes_from_the_file_before_the_url() {
        let file = std::env::temp_dir().join(format!("rollcall-password-{}", std::process::id()));
        let path = file.to_str().unwrap();
        let password = |url, file| read(url, file).unwrap().unwrap().config.password;
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
