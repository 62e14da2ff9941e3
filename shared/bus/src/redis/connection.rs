//! One connection: its limits, and its life.

use std::time::Duration;

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

    /// Resolves when the connection cannot work, which only errors of the configuration can cause. The library's task also ends
    /// after errors of single commands (F10 in `docs/internals/libraries.md`); then it is started again.
    pub(crate) async fn keep(mut self) {
        loop {
            match self.task.await {
                Ok(Err(error)) if is_misconfigured(&error) => {
                    tracing::error!(%error, "Redis connection given up: the configuration cannot work");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "Redis connections closed after an error; opening new ones"),
                // A panic, or the client was closed on purpose.
                Err(_) | Ok(Ok(())) => return,
            }
            sleep(RECONNECT_DELAY).await;
            self.task = self.client.connect();
        }
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
