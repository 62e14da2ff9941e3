//! The index of rooms by the next time they need a look: finding is cheap and may be out of date, for whoever evicts
//! checks again.

use bus::Bus;
use fred::{
    error::Error,
    interfaces::{KeysInterface as _, SortedSetsInterface as _},
    types::{SetOptions, sorted_sets::ZRange},
};
use keyspace::{RoomKeys, due, due_shard, locks};
use protocol::RoomId;

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

/// The rooms of a shard that are due, the most overdue first, at most a page.
pub(crate) async fn due_rooms(bus: &Bus, shard: u32, now_ms: u64) -> Result<Vec<Due>, Error> {
    let (from, to) = (ZRange::from("-inf"), ZRange::try_from(now_ms as f64)?);
    let rooms: Vec<(String, f64)> =
        bus.commands().zrangebyscore(due_shard(shard), from, to, true, Some((0, PAGE))).await?;
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let pipeline = bus.commands().pipeline();
    for (room, _) in &rooms {
        let key = RoomKeys::of(&room.as_str().into()).last_seen;
        let () = pipeline.zrange(key, 0, 0, None, false, None, true).await?;
    }
    let oldest: Vec<Vec<(String, f64)>> = pipeline.all().await?;
    let pipeline = bus.commands().pipeline();
    for (room, _) in &rooms {
        let () = pipeline.exists(locks(&room.as_str().into())).await?;
    }
    let locked: Vec<u64> = pipeline.all().await?;
    let dues = rooms.into_iter().zip(oldest.into_iter().zip(locked)).map(|((room, since), (oldest, locked))| Due {
        room: room.into(),
        since_ms: since as u64,
        oldest_ms: oldest.first().map(|(_, seen)| *seen as u64).filter(|_| locked == 0),
    });
    Ok(dues.collect())
}

/// Moves rooms to the times at which they are due next.
pub(crate) async fn put_off(bus: &Bus, rooms: &[(RoomId, u64)]) -> Result<(), Error> {
    if rooms.is_empty() {
        return Ok(());
    }
    let pipeline = bus.commands().pipeline();
    for (room, due_ms) in rooms {
        let value = (*due_ms as f64, room.as_str());
        let () = pipeline.zadd(due(room), Some(SetOptions::XX), None, false, false, value).await?;
    }
    let _: Vec<i64> = pipeline.all().await?;
    Ok(())
}
