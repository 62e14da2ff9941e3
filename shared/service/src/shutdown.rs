//! Shutdown: SIGTERM or SIGINT requests it, a second signal enforces it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Tasks;

/// Signals to every part of a service that it has to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that SIGTERM or SIGINT begins; a second signal exits at once with status 130. `tasks` owns the task that
    /// waits for signals.
    ///
    /// # Errors
    /// The system does not install the signal handlers.
    pub(crate) fn on_signals(tasks: &Tasks) -> io::Result<Self> {
        let shutdown = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let begun = shutdown.clone();
        tasks.spawn_permanent("signals", async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::info!("stopping");
            begun.begin();
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("second signal received; exiting at once");
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Asks every part to stop.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Resolves when a shutdown has been requested.
    pub async fn asked(&self) {
        self.0.cancelled().await;
    }

    /// Whether a shutdown has been requested.
    pub fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A readiness check: fails as soon as a shutdown has been requested.
    ///
    /// # Errors
    /// A shutdown has been requested.
    pub fn check(&self) -> Result<(), String> {
        if self.is_asked() { Err("stopping".to_owned()) } else { Ok(()) }
    }
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! { _ = a.recv() => {}, _ = b.recv() => {} }
}
