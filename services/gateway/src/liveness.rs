//! Liveness of clients. In transport mode a connection that answers pings is alive, and nothing is tracked here. In heartbeat
//! mode a member expires when its client sends no event for a full TTL.

use std::{
    sync::{Arc, LazyLock, Weak},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use rollcall_service::Tasks;
use tokio::time::{MissedTickBehavior, interval};

/// The time between two checks of all connections: 1 s, or a tenth of a TTL below 10 s.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A check that runs this late is skipped.
const PAUSE: Duration = Duration::from_secs(1);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process began.
pub(crate) fn now_ms() -> u64 {
    ms_at(Instant::now())
}

fn ms_at(now: Instant) -> u64 {
    now.duration_since(*START).as_millis() as u64
}

/// What shows that a client is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its connection.
    Transport,
    /// Its events, at least one within this time.
    Heartbeat(Duration),
}

/// A connection whose client may fall silent.
pub(crate) trait Client: Send + Sync + 'static {
    /// When its last event came, in milliseconds since the process began.
    fn last_event_ms(&self) -> u64;
    /// The client has been silent for too long. Called on every check until it sends an event.
    fn fell_silent(self: Arc<Self>);
}

/// The times of the checks.
struct Checks {
    every: Duration,
    last: Instant,
}

impl Checks {
    fn new(every: Duration, now: Instant) -> Self {
        Self { every, last: now }
    }

    /// Whether the check at `now` is late: the process was paused, and what clients sent meanwhile is not read yet.
    fn is_late(&mut self, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        now.duration_since(before) >= self.every + PAUSE
    }
}

/// Finds silent clients.
pub(crate) struct Liveness<C> {
    mode: Mode,
    clients: Mutex<Vec<Weak<C>>>,
}

impl<C: Client> Liveness<C> {
    pub(crate) fn new(mode: Mode) -> Arc<Self> {
        Arc::new(Self { mode, clients: Mutex::default() })
    }

    /// Starts to check for silent clients, in heartbeat mode.
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let Mode::Heartbeat(ttl) = self.mode else { return };
        let liveness = Arc::clone(self);
        tasks.spawn_permanent("liveness", async move {
            let every = CHECK_EVERY.min(ttl / 10);
            let mut tick = interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut checks = Checks::new(every, Instant::now());
            loop {
                tick.tick().await;
                liveness.check(&mut checks, Instant::now()).into_iter().for_each(C::fell_silent);
            }
        });
    }

    /// Adds a new connection.
    pub(crate) fn watch(&self, client: &Arc<C>) {
        if self.tracks() {
            self.lock().push(Arc::downgrade(client));
        }
    }

    /// Whether the times of events matter.
    pub(crate) fn tracks(&self) -> bool {
        self.mode != Mode::Transport
    }

    /// Whether a client whose last event came at `last_event_ms` has been silent for too long.
    pub(crate) fn is_silent(&self, last_event_ms: u64, now_ms: u64) -> bool {
        match self.mode {
            Mode::Transport => false,
            Mode::Heartbeat(ttl) => u128::from(now_ms.saturating_sub(last_event_ms)) >= ttl.as_millis(),
        }
    }

    /// The clients that have been silent for too long; none if the check is late.
    fn check(&self, checks: &mut Checks, now: Instant) -> Vec<Arc<C>> {
        if checks.is_late(now) { Vec::new() } else { self.silent(ms_at(now)) }
    }

    /// The clients that have been silent for too long. Forgets connections that ended.
    fn silent(&self, now_ms: u64) -> Vec<Arc<C>> {
        let mut silent = Vec::new();
        self.lock().retain(|client| {
            let client = client.upgrade();
            let is_alive = client.is_some();
            silent.extend(client.filter(|client| self.is_silent(client.last_event_ms(), now_ms)));
            is_alive
        });
        silent
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<C>>> {
        self.clients.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct LastEvent(u64);

    impl Client for LastEvent {
        fn last_event_ms(&self) -> u64 {
            self.0
        }
        fn fell_silent(self: Arc<Self>) {}
    }

    #[test]
    fn a_client_without_an_event_for_a_ttl_is_silent() {
        let liveness = Liveness::new(Mode::Heartbeat(Duration::from_secs(3)));
        let clients = [100, 2_000, 1_000].map(|at| Arc::new(LastEvent(at)));
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
    fn a_late_check_is_skipped_and_the_next_one_counts() {
        let liveness = Liveness::new(Mode::Heartbeat(Duration::from_secs(3)));
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let clients = [0, 59_000].map(|ms| Arc::new(LastEvent(ms_at(at(ms)))));
        clients.iter().for_each(|client| liveness.watch(client));
        let mut checks = Checks::new(Duration::from_millis(300), began);
        let mut silent = |ms| liveness.check(&mut checks, at(ms)).iter().map(|client| client.0).collect::<Vec<_>>();
        assert!(silent(300).is_empty());
        // The process was paused for a minute. The event of the second client was read only after that.
        assert!(silent(60_000).is_empty(), "what came meanwhile is not read yet");
        assert_eq!(silent(60_300), [clients[0].0]);
        // A check that is a little late, because the process is busy, counts.
        assert_eq!(silent(61_599), [clients[0].0]);
        assert!(silent(62_899).is_empty(), "1.3 s is too late");
        assert_eq!(silent(63_199).len(), 2);
    }

    #[test]
    fn in_transport_mode_no_one_is_silent_and_nothing_is_tracked() {
        let liveness = Liveness::new(Mode::Transport);
        let client = Arc::new(LastEvent(0));
        liveness.watch(&client);
        assert!(liveness.lock().is_empty() && !liveness.is_silent(0, u64::MAX));
    }
}
