//! Whether clients have to say that they are alive. By transport, an open connection that answers pings is enough, and
//! nothing is tracked here. By heartbeat, a member whose client sent no event for a TTL has expired.

use std::{
    sync::{Arc, LazyLock, Weak},
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use service::Tasks;
use tokio::time::{MissedTickBehavior, interval};

/// The longest time between two looks at all connections; with a TTL below ten seconds a tenth of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A look that comes so much too late is left out.
const PAUSE: Duration = Duration::from_secs(1);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process began.
pub(crate) fn now_ms() -> u64 {
    ms_at(Instant::now())
}

fn ms_at(now: Instant) -> u64 {
    now.duration_since(*START).as_millis() as u64
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

/// When somebody looked.
struct Looks {
    every: Duration,
    last: Instant,
}

impl Looks {
    fn new(every: Duration, now: Instant) -> Self {
        Self { every, last: now }
    }

    /// Whether a look comes much too late: this process stood still, and what clients sent meanwhile is still to be read.
    fn is_late(&mut self, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        now.duration_since(before) >= self.every + PAUSE
    }
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
    pub(crate) fn start(self: &Arc<Self>, tasks: &Tasks) {
        let Mode::Heartbeat(ttl) = self.mode else { return };
        let liveness = Arc::clone(self);
        tasks.spawn_permanent("liveness", async move {
            let every = LOOK_EVERY.min(ttl / 10);
            let mut tick = interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut looks = Looks::new(every, Instant::now());
            loop {
                tick.tick().await;
                liveness.look(&mut looks, Instant::now()).into_iter().for_each(C::fell_silent);
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

    /// Who has been silent for too long, as far as a look can tell.
    fn look(&self, looks: &mut Looks, now: Instant) -> Vec<Arc<C>> {
        if looks.is_late(now) { Vec::new() } else { self.silent(ms_at(now)) }
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

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<C>>> {
        self.clients.lock()
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
    fn a_look_that_comes_late_ends_no_one_and_the_next_one_does() {
        let liveness = Liveness::new(Mode::Heartbeat(Duration::from_secs(3)));
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let clients = [0, 59_000].map(|ms| Arc::new(Heard(ms_at(at(ms)))));
        clients.iter().for_each(|client| liveness.watch(client));
        let mut looks = Looks::new(Duration::from_millis(300), began);
        let mut silent = |ms| liveness.look(&mut looks, at(ms)).iter().map(|client| client.0).collect::<Vec<_>>();
        assert!(silent(300).is_empty());
        // The process stood still for a minute. The second client was heard only after that.
        assert!(silent(60_000).is_empty(), "what came meanwhile is not read yet");
        assert_eq!(silent(60_300), [clients[0].0]);
        // A look that is a little late, because there is much to do, counts.
        assert_eq!(silent(61_599), [clients[0].0]);
        assert!(silent(62_899).is_empty(), "1.3 s is too late");
        assert_eq!(silent(63_199).len(), 2);
    }

    #[test]
    fn by_transport_no_one_is_silent_and_nothing_is_tracked() {
        let liveness = Liveness::new(Mode::Transport);
        let client = Arc::new(Heard(0));
        liveness.watch(&client);
        assert!(liveness.lock().is_empty() && !liveness.is_silent(0, u64::MAX));
    }
}
