//! Whether clients have to say that they are alive. By transport, an open connection that answers pings is enough, and
//! nothing is tracked here. By heartbeat, a member whose client sent no event for a TTL has expired.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

/// The longest time between two looks at all connections; with a TTL below ten seconds a tenth of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A look that comes so much too late is left out.
const PAUSE: Duration = Duration::from_secs(1);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process began.
pub(crate) fn now_ms() -> u64 {
    START.elapsed().as_millis() as u64
}

/// How it is known that a client is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By its connection.
    Transport,
    /// By its events, of which one has to come in this time.
    Heartbeat(Duration),
}

/// A connection whose client may fall silent.
pub(crate) trait Client: Send + Sync + 'static {
    /// When its last event came, in milliseconds since the process began.
    fn heard_at_ms(&self) -> u64;
    /// It has been silent for too long. Called again until it says something.
    fn fell_silent(self: Arc<Self>);
}

/// Looks after silent clients.
pub(crate) struct Liveness<C> {
    mode: Mode,
    clients: Mutex<Vec<Weak<C>>>,
}

impl<C: Client> Liveness<C> {
    pub(crate) fn new(mode: Mode) -> Arc<Self> {
        Arc::new(Self { mode, clients: Mutex::default() })
    }

    /// Begins to look for silent clients, if that matters.
    pub(crate) fn start(self: &Arc<Self>) {
        let Mode::Heartbeat(ttl) = self.mode else { return };
        let liveness = Arc::clone(self);
        tokio::spawn(async move {
            let every = LOOK_EVERY.min(ttl / 10);
            let mut tick = interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut looked = Instant::now();
            loop {
                tick.tick().await;
                // After a pause of this process, what clients sent meanwhile is still to be read.
                if looked.elapsed() < every + PAUSE {
                    liveness.silent(now_ms()).into_iter().for_each(C::fell_silent);
                }
                looked = Instant::now();
            }
        });
    }

    /// A connection began.
    pub(crate) fn watch(&self, client: &Arc<C>) {
        if self.tracks() {
            self.lock().push(Arc::downgrade(client));
        }
    }

    /// Whether anybody asks when a client was heard.
    pub(crate) fn tracks(&self) -> bool {
        self.mode != Mode::Transport
    }

    /// Whether a client that was last heard at `heard_at_ms` has been silent for too long.
    pub(crate) fn is_silent(&self, heard_at_ms: u64, now_ms: u64) -> bool {
        match self.mode {
            Mode::Transport => false,
            Mode::Heartbeat(ttl) => u128::from(now_ms.saturating_sub(heard_at_ms)) >= ttl.as_millis(),
        }
    }

    /// Who has been silent for too long. Forgets connections that ended.
    fn silent(&self, now_ms: u64) -> Vec<Arc<C>> {
        let mut silent = Vec::new();
        self.lock().retain(|client| {
            let client = client.upgrade();
            let is_alive = client.is_some();
            silent.extend(client.filter(|client| self.is_silent(client.heard_at_ms(), now_ms)));
            is_alive
        });
        silent
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<C>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Heard(u64);

    impl Client for Heard {
        fn heard_at_ms(&self) -> u64 {
            self.0
        }
        fn fell_silent(self: Arc<Self>) {}
    }

    #[test]
    fn who_said_nothing_for_a_ttl_is_silent() {
        let liveness = Liveness::new(Mode::Heartbeat(Duration::from_secs(3)));
        let clients = [100, 2_000, 1_000].map(|at| Arc::new(Heard(at)));
        clients.iter().for_each(|client| liveness.watch(client));
        let silent = |now_ms| liveness.silent(now_ms).iter().map(|client| client.0).collect::<Vec<_>>();
        assert!(silent(3_099).is_empty());
        assert_eq!(silent(3_100), [100]);
        assert_eq!(silent(4_000), [100, 1_000]);
        drop(clients);
        assert!(silent(9_000).is_empty());
        assert!(liveness.lock().is_empty(), "ended connections are forgotten");
    }

    #[test]
    fn by_transport_no_one_is_silent_and_nothing_is_tracked() {
        let liveness = Liveness::new(Mode::Transport);
        let client = Arc::new(Heard(0));
        liveness.watch(&client);
        assert!(liveness.lock().is_empty() && !liveness.is_silent(0, u64::MAX));
    }
}
