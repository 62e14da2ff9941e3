//! The two connections to Redis: one for commands, one for subscriptions. Sets every limit that fred leaves open.
//!
//! - `config`: where Redis is. `connection`: one connection. `errors`: what an error says about its command. `reason`: why Redis
//!   refuses or cannot be reached, for people. `url`: what is wrong with a URL.

mod config;
mod connection;
mod errors;
mod reason;
mod url;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use fred::error::Error;
use fred::{
    clients::Client,
    interfaces::{ClientLike as _, EventInterface as _},
};
use tokio::time::sleep;
use tracing::{Instrument as _, Span};

pub use self::{
    config::{Config, DEFAULT_PREFIX, InvalidConfig},
    errors::{is_redirected, is_unsent},
};
pub(crate) use self::{connection::Connection, errors::is_answer, reason::reason};
use crate::subjects::Subjects;

/// How long a command may take. Shorter than a request's deadline, so that presence-state can still answer why it failed.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Messages by which the reading task may lag. Beyond it messages are lost, and the task is notified.
const SUBSCRIPTION_BACKLOG: usize = 16_384;
/// The waits before a command is repeated that was redirected. fred reads the slots of the cluster after `MOVED`, so the second
/// attempt finds the server; a slot with few keys moves within a few milliseconds. No longer: other commands wait in the same
/// batch, and a slot whose move was broken off stays divided until an operator repairs it.
const REDIRECT_DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(40)];

/// The connections of one instance.
pub struct Redis {
    /// For commands and scripts.
    pub commands: Client,
    /// For subscriptions only.
    pub subscriber: Client,
    /// The names of channels and keys there.
    pub subjects: Subjects,
    /// The connections themselves: for commands, for subscriptions.
    pub(crate) connections: [Connection; 2],
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
    let commanding = Connection::open(server.clone(), 32).map_err(invalid)?;
    let subscribing = Connection::open(server, SUBSCRIPTION_BACKLOG).map_err(invalid)?;
    let (commands, subscriber) = (commanding.client.clone(), subscribing.client.clone());
    Ok(Redis { commands, subscriber, subjects: Subjects::new(&prefix), connections: [commanding, subscribing] })
}

/// Sends a command again, a few times within 50 ms, while a cluster answers that its hash slot has moved or is about to. Such a
/// command has not run.
///
/// # Errors
/// Those of the command; of the last attempt if all were redirected.
pub(crate) async fn redirected<T, F>(send: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    match send().await {
        // Boxed: this is rare, and would make the future of every command larger.
        Err(error) if is_redirected(&error) => Box::pin(again(send, is_redirected, error)).await,
        result => result,
    }
}

/// The same for a subscription. fred says of one that was redirected that it could not be written (F10).
///
/// # Errors
/// As of [`redirected`].
pub(crate) async fn subscribed<T, F>(send: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    match send().await {
        Err(error) if is_unsent(&error) => Box::pin(again(send, is_unsent, error)).await,
        result => result,
    }
}

async fn again<T, F>(send: impl Fn() -> F, has_not_run: fn(&Error) -> bool, mut error: Error) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for delay in REDIRECT_DELAYS {
        sleep(delay).await;
        match send().await {
            Err(other) if has_not_run(&other) => error = other,
            result => return result,
        }
    }
    Err(error)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fred::error::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn only_what_was_redirected_is_sent_again_and_not_forever() {
        for (text, expected) in
            [("Too many redirections.", 4), ("TRYAGAIN Multiple keys", 4), ("Request timed out.", 1)]
        {
            let sent = AtomicUsize::new(0);
            let result: Result<(), _> = redirected(async || {
                sent.fetch_add(1, Ordering::Relaxed);
                Err(Error::new(ErrorKind::Unknown, text))
            })
            .await;
            assert!(result.is_err());
            assert_eq!(sent.into_inner(), expected, "{text}");
        }
        let sent = AtomicUsize::new(0);
        let answer = redirected(async || match sent.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Error::new(ErrorKind::Routing, "Too many redirections.")),
            _ => Ok(7),
        });
        assert_eq!(answer.await.unwrap(), 7);
    }
}
