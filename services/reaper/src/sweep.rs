//! The sweep: rooms that are due are looked at; what is stale in them is evicted, the others are put off. A sweep costs
//! what is due, not what exists.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bus::Bus;
use futures_util::{StreamExt as _, stream};
use protocol::{
    Code, Fault, RoomId,
    command::{Command, Outcome, Reap},
};
use telemetry::{
    metrics::{self, Reading},
    propagation::TraceContext,
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::Span;

use crate::{index, is_ours};

/// Rooms that are evicted from at a time.
const TOGETHER: usize = 32;
/// Pages of one shard in one cycle; what is left is due at the next.
const PAGES: usize = 20;

#[derive(Default)]
struct Tally {
    scanned: u64,
    evicted: u64,
    rooms_changed: u64,
    lag_ms: u64,
    /// All rooms of the shards that were swept, due or not.
    rooms: u64,
}

/// What metrics look at between two cycles.
#[derive(Default)]
struct Figures {
    lag_ms: AtomicU64,
    rooms: AtomicU64,
}

impl Figures {
    fn shown() -> Arc<Self> {
        metrics::begin_reaper();
        let figures = Arc::<Self>::default();
        let seen = Arc::clone(&figures);
        metrics::observe(Reading::ReaperLag, move || Some(seen.lag_ms.load(Ordering::Relaxed) as f64 / 1e3));
        let seen = Arc::clone(&figures);
        metrics::observe(Reading::RoomsActive, move || Some(seen.rooms.load(Ordering::Relaxed) as f64));
        figures
    }
}

/// Sweeps, for ever.
pub(crate) async fn run(bus: Arc<Bus>, ttl_ms: u64, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let figures = Figures::shown();
    loop {
        tick.tick().await;
        let began = Instant::now();
        let span = telemetry::span::reaper_cycle();
        let mut tally = Tally::default();
        for shard in 0..keyspace::DUE_SHARDS {
            if is_ours(&bus, &format!("due:{shard}"))
                && let Err(fault) = sweep(&bus, shard, ttl_ms, &span, &mut tally).await
            {
                telemetry::span::fail(&span, "sweep", &fault);
                span.in_scope(|| tracing::warn!(shard, fault, "a shard was not swept; it stays due"));
                break;
            }
        }
        span.record("reaper.scanned", tally.scanned as i64)
            .record("reaper.evicted", tally.evicted as i64)
            .record("reaper.rooms_changed", tally.rooms_changed as i64)
            .record("reaper.lag_ms", tally.lag_ms as i64);
        metrics::reaper_cycle(began.elapsed(), tally.scanned, tally.rooms_changed);
        metrics::evicted("expired", tally.evicted);
        figures.lag_ms.store(tally.lag_ms, Ordering::Relaxed);
        figures.rooms.store(tally.rooms, Ordering::Relaxed);
        if tally.evicted > 0 {
            let Tally { evicted, rooms_changed, lag_ms, .. } = tally;
            span.in_scope(|| tracing::info!(evicted, rooms = rooms_changed, lag_ms, "swept"));
        }
    }
}

async fn sweep(bus: &Arc<Bus>, shard: u32, ttl_ms: u64, span: &Span, tally: &mut Tally) -> Result<(), String> {
    tally.rooms += index::rooms(bus, shard).await.map_err(|error| error.to_string())?;
    for _ in 0..PAGES {
        let now_ms = bus.redis_now_ms();
        let page = index::due_rooms(bus, span, shard, now_ms).await.map_err(|error| error.to_string())?;
        let full = page.len() as i64 == index::PAGE;
        let (mut put_off, mut stale) = (Vec::new(), Vec::new());
        for due in page {
            tally.scanned += 1;
            tally.lag_ms = tally.lag_ms.max(now_ms.saturating_sub(due.since_ms));
            match due.oldest_ms {
                Some(seen) if seen + ttl_ms > now_ms => put_off.push((due.room, seen + ttl_ms)),
                // Nobody left, somebody stale, or locks: presence-state looks again and puts the room where it belongs.
                _ => stale.push(due.room),
            }
        }
        let evictions = stream::iter(stale).map(async |room| (evict(bus, &room, TraceContext::of(span)).await, room));
        let mut away = None;
        for (evicted, room) in evictions.buffer_unordered(TOGETHER).collect::<Vec<_>>().await {
            match evicted {
                Ok(count) => {
                    tally.evicted += count;
                    tally.rooms_changed += u64::from(count > 0);
                }
                // A room that cannot be read shall not keep the others waiting; it is looked at again a TTL later.
                Err(fault) if fault.code == Code::Internal => {
                    telemetry::span::fail(span, "room", &fault.message);
                    span.in_scope(|| tracing::error!(%room, %fault, "a room cannot be swept"));
                    put_off.push((room, now_ms + ttl_ms));
                }
                Err(fault) => away = Some(fault.to_string()),
            }
        }
        index::put_off(bus, span, &put_off).await.map_err(|error| error.to_string())?;
        if let Some(fault) = away {
            return Err(fault);
        }
        if !full {
            break;
        }
    }
    Ok(())
}

async fn evict(bus: &Arc<Bus>, room: &RoomId, trace: TraceContext) -> Result<u64, Fault> {
    let answer = bus.call(room.as_str(), &Command::Reap(Reap { room: room.clone() }), trace).await?;
    Ok(match &*answer.outcome {
        Outcome::Evicted { count, .. } => *count,
        _ => 0,
    })
}
