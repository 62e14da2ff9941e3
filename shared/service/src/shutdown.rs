//! The end of a service: SIGTERM or SIGINT asks for it, a second one enforces it.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Tells every part of a service when to end. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Begins a [`Shutdown`]; a test holds it in place of the signals.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// Asks every part to end.
    pub fn begin(&self) {
        let _ = self.0.send(true);
    }
}

impl Shutdown {
    /// A shutdown and what begins it.
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// A shutdown that SIGTERM or SIGINT begins; the second signal exits at once with status 130.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let (trigger, shutdown) = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::info!("stopping");
            trigger.begin();
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("stopped at once by a second signal");
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Resolves when the end has been asked for.
    pub async fn asked(&self) {
        let mut receiver = self.0.clone();
        // An error means that the trigger is gone, which only happens when the runtime ends.
        let _ = receiver.wait_for(|asked| *asked).await;
    }

    /// Whether the end has been asked for.
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
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
