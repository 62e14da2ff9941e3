//! One connection: its limits, and its life.

use std::time::{Duration, Instant};

use fred::{
    clients::Client,
    error::Error,
    interfaces::ClientLike as _,
    types::{
        Builder, ConnectHandle,
        config::{Config as Server, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use tokio::time::sleep;

use super::{COMMAND_TIMEOUT, errors::is_misconfigured};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that vanished without closing its connection (a pulled cable) is noticed after this time.
const UNRESPONSIVE: Duration = Duration::from_secs(4);
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// Between two starts of a task that ends soon after each.
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const COMMAND_BUFFER: usize = 50_000;

/// A client, and the task of the library that keeps its connections.
pub(crate) struct Connection {
    pub(super) client: Client,
    task: ConnectHandle,
}

impl Connection {
    /// Starts to connect. `broadcast_capacity`: by how many messages a receiver may lag.
    pub(super) fn open(server: Server, broadcast_capacity: usize) -> Result<Self, Error> {
        let client = client(server, broadcast_capacity)?;
        let task = client.connect();
        Ok(Self { client, task })
    }

    /// Resolves when the connection cannot work: the configuration is wrong, or the library's task panicked. That task also ends after
    /// errors of single commands (F10 in `docs/internals/libraries.md`); then it is started again, ever later if it ends soon.
    pub(crate) async fn keep(mut self) {
        let mut delays = Delays::default();
        loop {
            let begun = Instant::now();
            match self.task.await {
                Ok(Err(error)) if is_misconfigured(&error) => {
                    tracing::error!(%error, "Redis connection given up: the configuration cannot work");
                    return;
                }
                // Without an error too: the library takes some for a wish to close the client, which no one here has.
                Ok(ended) => {
                    let error = ended.err().map(tracing::field::display);
                    tracing::warn!(error, "Redis connections closed by the library; opening new ones");
                }
                Err(panic) => {
                    tracing::error!(%panic, "Redis connection given up");
                    return;
                }
            }
            sleep(delays.after(begun.elapsed())).await;
            self.task = self.client.connect();
        }
    }
}

/// How long to wait before a task is started again: longer each time, unless it lived for long.
struct Delays(Duration);

impl Default for Delays {
    fn default() -> Self {
        Self(RECONNECT_DELAY)
    }
}

impl Delays {
    /// The wait after a task that lived for this time.
    fn after(&mut self, lived: Duration) -> Duration {
        self.0 = if lived > LONGEST_DELAY { RECONNECT_DELAY } else { (2 * self.0).min(LONGEST_DELAY) };
        self.0
    }
}

fn client(server: Server, broadcast_capacity: usize) -> Result<Client, Error> {
    Builder::from_config(Server { fail_fast: false, ..server })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = broadcast_capacity;
        })
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            // A script whose connection broke may have run; only its sender knows whether repeating is harmless.
            connection.max_command_attempts = 1;
            // `ASK` must not be followed: a script would find only the keys that have moved already (F10).
            connection.max_redirections = 0;
            connection.max_command_buffer_len = COMMAND_BUFFER;
            connection.reconnect_on_auth_error = true;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_secs(1) };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .set_policy(ReconnectPolicy::new_constant(0, RECONNECT_DELAY.as_millis() as u32))
        .build()
}

#[cfg(test)]
mod tests {
    use fred::error::ErrorKind;
    use rollcall_testkit::Redis;
    use tokio::time::timeout;

    use super::*;
    use crate::redis::Config;

    /// A connection whose task has ended.
    fn ended(server: &Redis, result: Result<(), Error>) -> Connection {
        let client = client(Config::from_url(&server.url()).unwrap().server, 32).unwrap();
        Connection { client, task: tokio::spawn(async { result }) }
    }

    #[test]
    fn a_task_that_ends_soon_is_started_ever_later_and_one_that_lived_for_long_soon() {
        let (soon, long) = (Duration::from_millis(1), LONGEST_DELAY + Duration::from_millis(1));
        let waits = |lives: &[Duration]| {
            let mut delays = Delays::default();
            lives.iter().map(|lived| delays.after(*lived).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&[soon; 7]), [400, 800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        assert_eq!(waits(&[soon, soon, long, soon]), [400, 800, 200, 400]);
    }

    #[tokio::test]
    async fn a_connection_is_opened_again_unless_it_cannot_work() {
        let server = Redis::start();
        for result in [Ok(()), Err(Error::new(ErrorKind::Routing, "Max attempts reached."))] {
            let connection = ended(&server, result);
            let client = connection.client.clone();
            let kept = tokio::spawn(connection.keep());
            timeout(Duration::from_secs(5), client.wait_for_connect()).await.unwrap().unwrap();
            client.ping::<()>(None).await.unwrap();
            kept.abort();
        }
        ended(&server, Err(Error::new(ErrorKind::Config, "cannot work"))).keep().await;
    }
}
