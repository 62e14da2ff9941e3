//! The end of a service: SIGTERM or SIGINT asks for it, a second one enforces it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Tasks;

/// Tells every part of a service when to end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that SIGTERM or SIGINT begins; the second signal exits at once with status 130. `tasks` owns the task that
    /// waits for them.
    ///
    /// # Errors
    /// The system refuses the handlers.
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
            tracing::warn!("stopped at once by a second signal");
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Asks every part to end.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Resolves when the end has been asked for.
    pub async fn asked(&self) {
        self.0.cancelled().await;
    }

    /// Whether the end has been asked for.
    pub fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A readiness check: fails from the moment at which the end was asked for.
    ///
    /// # Errors
    /// The end was asked for.
    pub fn check(&self) -> Result<(), String> {
        if self.is_asked() { Err("stopping".to_owned()) } else { Ok(()) }
    }
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! { _ = a.recv() => {}, _ = b.recv() => {} }
}
