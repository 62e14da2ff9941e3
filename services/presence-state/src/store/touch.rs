//! Touches: one sorted-set command for each room, all of them in one write. No record is read, no script runs.

use fred::{
    interfaces::{ClientLike as _, SortedSetsInterface as _},
    types::{SetOptions, sorted_sets::Ordering},
};
use keyspace::RoomKeys;
use protocol::{ConnId, Fault, command::RoomTouch};
use tracing::{Instrument as _, Span};

use super::{Store, unavailable};

impl Store {
    /// Moves the last-seen times of living connections on; answers those that have no record.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn touch(&self, parent: &Span, rooms: &[RoomTouch]) -> Result<Vec<ConnId>, Fault> {
        if !self.client().is_connected() {
            return Err(unavailable());
        }
        let span = telemetry::span::pipeline(parent, "touch", rooms.len());
        let result = self.touch_all(rooms).instrument(span.clone()).await;
        let missing = result.map_err(|error| self.fault(&span, "touch", &error))?;
        self.worked();
        Ok(missing)
    }

    async fn touch_all(&self, rooms: &[RoomTouch]) -> Result<Vec<ConnId>, fred::error::Error> {
        let now = self.bus.redis_now_ms();
        let pipeline = self.client().pipeline();
        for touch in rooms {
            let seen = |age: u64| now.saturating_sub(age) as f64;
            let scores: Vec<(f64, &str)> = touch.alive.iter().map(|(conn, age)| (seen(*age), conn.as_str())).collect();
            let key = RoomKeys::of(&touch.room).last_seen;
            let only_newer = Some(Ordering::GreaterThan);
            let () = pipeline.zadd(key, Some(SetOptions::XX), only_newer, true, false, scores).await?;
        }
        let moved: Vec<usize> = pipeline.all().await?;
        let mut missing = Vec::new();
        for (touch, moved) in rooms.iter().zip(moved) {
            // Fewer than asked: some are gone, or were already newer. Rare, so that asking which costs nothing usually.
            if moved < touch.alive.len() {
                let conns: Vec<&str> = touch.alive.iter().map(|(conn, _)| conn.as_str()).collect();
                let scores: Vec<Option<f64>> =
                    self.client().zmscore(RoomKeys::of(&touch.room).last_seen, conns).await?;
                let gone = touch.alive.iter().zip(scores).filter(|(_, score)| score.is_none());
                missing.extend(gone.map(|((conn, _), _)| conn.clone()));
            }
        }
        Ok(missing)
    }
}
