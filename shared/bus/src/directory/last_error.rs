//! Why Redis does not answer or refuses, in its own words. Each text is logged once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fred::{
    error::ErrorKind,
    interfaces::{ClientLike as _, EventInterface as _},
};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;

use crate::{link::Link, redis::reason};

/// How many texts are remembered as logged. A fault that alternates between more of them is logged more often.
const LOGGED_TEXTS: usize = 8;

/// The errors since Redis last acknowledged an exchange.
#[derive(Debug, Default)]
pub(crate) struct LastError {
    logged: Mutex<Vec<String>>,
    last: Mutex<Option<String>>,
    /// Redis has acknowledged an exchange before.
    has_answered: AtomicBool,
}

impl LastError {
    /// Records an error; returns whether it has not been logged since Redis was last healthy.
    pub(crate) fn record(&self, text: &str) -> bool {
        *self.last.lock() = Some(text.to_owned());
        let mut logged = self.logged.lock();
        if logged.iter().any(|one| one == text) {
            return false;
        }
        if logged.len() == LOGGED_TEXTS {
            logged.remove(0);
        }
        logged.push(text.to_owned());
        true
    }

    /// Redis is healthy; returns whether it was not before.
    pub(crate) fn clear(&self) -> bool {
        self.has_answered.store(true, Ordering::Relaxed);
        self.logged.lock().clear();
        self.last.lock().take().is_some()
    }

    /// Whether Redis was healthy before.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// The last error.
    pub(crate) fn get(&self) -> Option<String> {
        self.last.lock().clone()
    }
}

/// Records why there is no command connection, in the words of the server that refused it, forever. Commands themselves only
/// report a timeout (F9 in `docs/internals/libraries.md`).
pub(crate) async fn record_connection_errors(link: Arc<Link>, last_error: Arc<LastError>) {
    let mut errors = link.commands.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, _)) if link.is_connected() || *error.kind() == ErrorKind::Canceled => {}
            Ok((error, server)) => {
                let error = reason(&link.commands, &error, last_error.has_answered());
                if last_error.record(&error) {
                    let named = || link.commands.client_config().server.hosts();
                    let servers = server.map_or_else(named, |server| vec![server]);
                    let server = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    tracing::warn!(error, server, "Redis connection failed; retrying");
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_logged_once_until_redis_is_healthy() {
        let last_error = LastError::default();
        assert!(!last_error.clear());
        assert_eq!(
            ["refused", "refused", "slow", "refused"].map(|text| last_error.record(text)),
            [true, false, true, false]
        );
        assert_eq!(last_error.get().as_deref(), Some("refused"));
        assert!(last_error.clear() && last_error.record("refused"));
    }
}
