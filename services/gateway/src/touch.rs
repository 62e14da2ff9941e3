//! Touches: how Redis learns who was alive without a request for each heartbeat. A heartbeat puts its connection on a
//! wheel; each slice of the wheel leaves as one message to each presence-state instance. A connection is touched at most
//! once an interval and at most a spread after its heartbeat, so that what Redis knows is never older than both.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, LazyLock, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bus::{Bus, Role};
use protocol::{
    ConnId, RoomId,
    command::{Command, Outcome, RoomTouch, Touch},
};
use telemetry::{metrics, propagation::TraceContext};
use tokio::time::{MissedTickBehavior, interval};
use tracing::Span;

use crate::socket::session::Session;

/// The least time between two touches of a connection: a second, less what keeps the touches of a client that beats
/// each second in step with it. Touches that fell behind its heartbeats would report them ever later.
const INTERVAL_MS: u64 = 900;
/// A touch leaves at most this long after its heartbeat. A burst of clients that beat together is spread over it.
const SPREAD_MS: u64 = 300;
const SLICE_MS: u64 = 50;
/// Slices of the wheel; one turn is longer than an interval and a spread.
const SLICES: u64 = 32;
/// A heartbeat is not answered "ok" when Redis has not heard of its connection for this long after it should have.
const LATE_AFTER_MS: u64 = 2_000;
const RETRY_MS: u64 = 200;
/// Connections in one message.
const BATCH: usize = 1_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the process began, at least 1.
pub(crate) fn now_ms() -> u64 {
    START.elapsed().as_millis() as u64 + 1
}

/// What is known of one connection's life.
pub(crate) struct Pulse {
    beat_ms: AtomicU64,
    due_ms: AtomicU64,
    /// Since when a heartbeat waits for its touch to be acknowledged; 0 when none does.
    waiting_since_ms: AtomicU64,
    on_wheel: AtomicBool,
    spread_ms: u64,
}

impl Pulse {
    pub(crate) fn new(conn: &ConnId) -> Self {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self {
            beat_ms: AtomicU64::new(now_ms()),
            due_ms: AtomicU64::new(0),
            waiting_since_ms: AtomicU64::new(0),
            on_wheel: AtomicBool::new(false),
            spread_ms: SLICE_MS + HASHER.hash_one(conn) % (SPREAD_MS - SLICE_MS),
        }
    }

    /// The connection was heard of, and Redis was told by other means.
    pub(crate) fn heard(&self) {
        self.beat_ms.store(now_ms(), Ordering::Relaxed);
        self.waiting_since_ms.store(0, Ordering::Relaxed);
    }

    /// Whether Redis has not been told of this connection for too long.
    pub(crate) fn is_late(&self, now_ms: u64) -> bool {
        match self.waiting_since_ms.load(Ordering::Relaxed) {
            0 => false,
            since => now_ms.saturating_sub(since) > LATE_AFTER_MS,
        }
    }

    fn acknowledged(&self, waited_since: u64, sent_ms: u64) {
        // A heartbeat that came since waits from then on.
        let beat = self.beat_ms.load(Ordering::Relaxed);
        let next = if self.on_wheel.load(Ordering::Relaxed) && beat > sent_ms { beat } else { 0 };
        let _ = self.waiting_since_ms.compare_exchange(waited_since, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The wheel.
pub(crate) struct Touches {
    bus: Arc<Bus>,
    ttl_ms: u64,
    slices: Vec<Mutex<Vec<Weak<Session>>>>,
}

/// A session whose touch is under way, and since when its heartbeat waits for it.
struct Under {
    session: Arc<Session>,
    waiting_since: u64,
    /// The sampled heartbeat that the touch stems from.
    heartbeat: Option<TraceContext>,
}

impl Touches {
    pub(crate) fn new(bus: Arc<Bus>, ttl: Duration) -> Arc<Self> {
        let slices = (0..SLICES).map(|_| Mutex::default()).collect();
        Arc::new(Self { bus, ttl_ms: ttl.as_millis() as u64, slices })
    }

    /// Begins to turn the wheel.
    pub(crate) fn start(self: &Arc<Self>) {
        let touches = Arc::clone(self);
        tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(SLICE_MS));
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut done = now_ms() / SLICE_MS;
            loop {
                tick.tick().await;
                let now = now_ms() / SLICE_MS;
                // After a pause of the process some slices are overdue, but never more than all.
                for slice in (done + 1).max((now + 1).saturating_sub(SLICES))..=now {
                    touches.turn(slice);
                }
                done = now;
            }
        });
    }

    /// A plain heartbeat came.
    pub(crate) fn beat(&self, session: &Arc<Session>, now_ms: u64) {
        let pulse = &session.pulse;
        pulse.beat_ms.store(now_ms, Ordering::Relaxed);
        if !pulse.on_wheel.swap(true, Ordering::Relaxed) {
            let _ = pulse.waiting_since_ms.compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
            let due = (now_ms + pulse.spread_ms).max(pulse.due_ms.load(Ordering::Relaxed) + INTERVAL_MS);
            pulse.due_ms.store(due, Ordering::Relaxed);
            self.put(session, due);
        }
    }

    /// Touches a connection soon, with its true age: Redis may have forgotten it.
    pub(crate) fn nudge(&self, session: &Arc<Session>) {
        if !session.pulse.on_wheel.swap(true, Ordering::Relaxed) {
            self.put(session, now_ms() + RETRY_MS + session.pulse.spread_ms);
        }
    }

    fn put(&self, session: &Arc<Session>, due_ms: u64) {
        let slice = (due_ms / SLICE_MS + 1) % SLICES;
        self.slice(slice).push(Arc::downgrade(session));
    }

    fn slice(&self, slice: u64) -> std::sync::MutexGuard<'_, Vec<Weak<Session>>> {
        self.slices[(slice % SLICES) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(self: &Arc<Self>, slice: u64) {
        let due = std::mem::take(&mut *self.slice(slice));
        if due.is_empty() {
            return;
        }
        let now = now_ms();
        let mut by_room: HashMap<RoomId, Vec<Under>> = HashMap::new();
        for session in due.iter().filter_map(Weak::upgrade) {
            session.pulse.on_wheel.store(false, Ordering::Relaxed);
            let age = now.saturating_sub(session.pulse.beat_ms.load(Ordering::Relaxed));
            // Who was silent for a TTL is gone; a nudge must not bring it back.
            if age < self.ttl_ms
                && let Some(room) = session.joined_room()
            {
                let waiting_since = session.pulse.waiting_since_ms.load(Ordering::Relaxed);
                let heartbeat = session.take_heartbeat_trace();
                by_room.entry(room).or_default().push(Under { session, waiting_since, heartbeat });
            }
        }
        let view = self.bus.view();
        let mut by_target: HashMap<_, Vec<(RoomId, Vec<Under>)>> = HashMap::new();
        for (room, sessions) in by_room {
            let target = view.serving(Role::State, room.as_str());
            by_target.entry(target).or_default().push((room, sessions));
        }
        for (_, rooms) in by_target {
            let mut batch = Vec::new();
            let mut size = 0;
            for room in rooms {
                size += room.1.len();
                batch.push(room);
                if size >= BATCH {
                    tokio::spawn(Arc::clone(self).send(std::mem::take(&mut batch), now));
                    size = 0;
                }
            }
            if !batch.is_empty() {
                tokio::spawn(Arc::clone(self).send(batch, now));
            }
        }
    }

    async fn send(self: Arc<Self>, rooms: Vec<(RoomId, Vec<Under>)>, now: u64) {
        let Some((first, _)) = rooms.first() else { return };
        let first = first.clone();
        let span = span(&rooms);
        let age = |under: &Under| now.saturating_sub(under.session.pulse.beat_ms.load(Ordering::Relaxed));
        let alive =
            |sessions: &Vec<Under>| sessions.iter().map(|under| (under.session.conn.clone(), age(under))).collect();
        let touch = Touch {
            node: self.bus.instance().clone(),
            rooms: rooms
                .iter()
                .map(|(room, sessions)| RoomTouch { room: room.clone(), alive: alive(sessions) })
                .collect(),
        };
        let began = Instant::now();
        let answer = self.bus.call(first.as_str(), &Command::Touch(touch), TraceContext::of(&span)).await;
        let sessions = rooms.into_iter().flat_map(|(_, sessions)| sessions);
        match answer {
            Ok(answer) => {
                let Outcome::Touched { missing } = &*answer.outcome else { return };
                metrics::touched(began.elapsed());
                span.record("presence.missing", missing.len() as i64);
                for under in sessions {
                    under.session.pulse.acknowledged(under.waiting_since, now);
                    if missing.contains(&under.session.conn) {
                        under.session.restore();
                    }
                }
            }
            Err(fault) => {
                metrics::error("touch", fault.code.as_str());
                telemetry::span::fail(&span, fault.code.as_str(), &fault.message);
                for under in sessions {
                    if !under.session.pulse.on_wheel.swap(true, Ordering::Relaxed) {
                        self.put(&under.session, now_ms() + RETRY_MS);
                    }
                }
            }
        }
    }
}

/// A span with links to the sampled heartbeats; none where there is no such heartbeat.
fn span(rooms: &[(RoomId, Vec<Under>)]) -> Span {
    let sessions = || rooms.iter().flat_map(|(_, sessions)| sessions);
    let mut heartbeats = sessions().filter_map(|under| under.heartbeat.as_ref()).peekable();
    if heartbeats.peek().is_none() {
        return Span::none();
    }
    let span = telemetry::span::touch(sessions().count(), rooms.len());
    heartbeats.for_each(|heartbeat| heartbeat.link(&span));
    span
}
