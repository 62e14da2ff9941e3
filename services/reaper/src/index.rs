//! The index of rooms by the next time they need a look: finding is cheap and may be out of date, for whoever evicts
//! checks again.

use bus::{Bus, redis};
use fred::{
    error::Error,
    interfaces::{KeysInterface as _, SortedSetsInterface as _},
    types::{SetOptions, sorted_sets::ZRange},
};
use keyspace::{RoomKeys, due, due_shard, locks};
use protocol::RoomId;
use tracing::Span;

/// Rooms looked at together.
pub(crate) const PAGE: i64 = 500;

/// A room that is due, since when, and when its oldest connection was heard of; none when it has none, or when locks are
/// held there, whose end has to be looked for.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) room: RoomId,
    pub(crate) since_ms: u64,
    pub(crate) oldest_ms: Option<u64>,
}

/// How many rooms a shard has, due or not.
pub(crate) async fn rooms(bus: &Bus, shard: u32) -> Result<u64, Error> {
    redis::observed(Span::none(), "zcard", "", bus.commands().zcard(due_shard(shard))).await
}

/// The rooms of a shard that are due, the most overdue first, at most a page.
pub(crate) async fn due_rooms(bus: &Bus, span: &Span, shard: u32, now_ms: u64) -> Result<Vec<Due>, Error> {
    let (from, to) = (ZRange::from("-inf"), ZRange::try_from(now_ms as f64)?);
    let key = due_shard(shard);
    let read = bus.commands().zrangebyscore(&key, from, to, true, Some((0, PAGE)));
    // No span: it is asked each cycle, and most often nothing is due.
    let rooms: Vec<(String, f64)> = redis::observed(Span::none(), "zrangebyscore", "", read).await?;
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let pipeline = bus.commands().pipeline();
    for (room, _) in &rooms {
        let key = RoomKeys::of(&room.as_str().into()).last_seen;
        let () = pipeline.zrange(key, 0, 0, None, false, None, true).await?;
    }
    let read = telemetry::span::pipeline(span, "oldest", &key, rooms.len());
    // Each by itself: a key that holds something else is the trouble of its room alone, which presence-state then tells of.
    let each = async { Ok(pipeline.try_all::<Vec<(String, f64)>>().await) };
    let oldest: Vec<Result<Vec<(String, f64)>, Error>> = redis::observed(read, "pipeline", "", each).await?;
    let pipeline = bus.commands().pipeline();
    for (room, _) in &rooms {
        let () = pipeline.exists(locks(&room.as_str().into())).await?;
    }
    let read = telemetry::span::pipeline(span, "locked", &key, rooms.len());
    let locked: Vec<u64> = redis::observed(read, "pipeline", "", pipeline.all()).await?;
    let dues = rooms.into_iter().zip(oldest.into_iter().zip(locked)).map(|((room, since), (oldest, locked))| Due {
        room: room.into(),
        since_ms: since as u64,
        oldest_ms: oldest.ok().and_then(|seen| Some(seen.first()?.1 as u64)).filter(|_| locked == 0),
    });
    Ok(dues.collect())
}

/// Moves rooms to the times at which they are due next.
pub(crate) async fn put_off(bus: &Bus, span: &Span, rooms: &[(RoomId, u64)]) -> Result<(), Error> {
    let Some((first, _)) = rooms.first() else { return Ok(()) };
    let pipeline = bus.commands().pipeline();
    for (room, due_ms) in rooms {
        let value = (*due_ms as f64, room.as_str());
        let () = pipeline.zadd(due(room), Some(SetOptions::XX), None, false, false, value).await?;
    }
    let write = telemetry::span::pipeline(span, "put_off", &due(first), rooms.len());
    let _: Vec<i64> = redis::observed(write, "pipeline", "", pipeline.all()).await?;
    Ok(())
}
