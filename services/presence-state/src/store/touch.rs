//! Touches: many rooms to a script call, one sorted-set command for each room in it. No record is read.

use std::{collections::HashMap, sync::LazyLock};

use bus::script::Script;
use fred::types::Value;
use futures_util::future;
use keyspace::RoomKeys;
use protocol::{ConnId, Fault, command::RoomTouch};
use tracing::Span;

use super::{Store, int, script};

static TOUCH: LazyLock<Script> = script!("presence_touch");

/// Rooms that one call touches; a script blocks Redis while it runs.
const SHARED: usize = 256;

impl Store {
    /// Moves the last-seen times of living connections on; answers those that have no record.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn touch(&self, parent: &Span, rooms: &[RoomTouch]) -> Result<Vec<ConnId>, Fault> {
        let mut places: HashMap<u16, Vec<&RoomTouch>> = HashMap::new();
        for touch in rooms {
            places.entry(self.place(&touch.room)).or_default().push(touch);
        }
        let calls = places.values().flat_map(|rooms| rooms.chunks(SHARED));
        let missing = future::try_join_all(calls.map(|rooms| self.touch_together(parent, rooms))).await?;
        self.worked();
        Ok(missing.into_iter().flatten().map(ConnId::from).collect())
    }

    async fn touch_together(&self, parent: &Span, rooms: &[&RoomTouch]) -> Result<Vec<String>, Fault> {
        let keys = rooms.iter().map(|touch| RoomKeys::of(&touch.room).last_seen).collect();
        let connections: usize = rooms.iter().map(|touch| touch.alive.len()).sum();
        let mut args: Vec<Value> = Vec::with_capacity(rooms.len() + 2 * connections);
        for touch in rooms {
            args.push(int(touch.alive.len() as u64));
            args.extend(touch.alive.iter().flat_map(|(conn, age)| [int(*age), conn.as_str().into()]));
        }
        self.script(parent, &TOUCH, keys, args, rooms.len()).await
    }
}
