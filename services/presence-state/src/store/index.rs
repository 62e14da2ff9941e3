//! What lies in other hash slots than the room: when it is due for a look, and in which rooms a gateway has connections.
//! Written best-effort; what is lost here, the next touch of the room puts back.

use bus::redis;
use fred::{
    interfaces::{KeysInterface as _, SetsInterface as _, SortedSetsInterface as _},
    types::SetOptions,
};
use keyspace::RoomKeys;
use protocol::{InstanceId, RoomId};
use tracing::Span;

use super::Store;

impl Store {
    /// A connection entered: the room is due at the latest when it can be stale.
    pub async fn entered(&self, span: &Span, room: &RoomId, node: &InstanceId) {
        let pipeline = self.client().pipeline();
        let result: Result<(), fred::error::Error> = async {
            let (first, count) = self.put(&pipeline, room, node).await?;
            let span = telemetry::span::pipeline(span, "entered", &first, count);
            redis::observed(span, "pipeline", "", pipeline.all()).await
        }
        .await;
        self.best_effort(result, room);
    }

    /// Refreshes the expiry of the room's keys, of the metadata beside them, and its places in the indexes, if that was not done lately.
    pub async fn refresh(&self, span: &Span, room: &RoomId, node: &InstanceId) {
        if !self.freshness.wanted(room, node) {
            return;
        }
        let pipeline = self.client().pipeline();
        let result: Result<(), fred::error::Error> = async {
            let expiry = i64::try_from(self.expiry_ms()).unwrap_or(i64::MAX);
            let keys = RoomKeys::of(room).into_vec();
            for key in &keys {
                let () = pipeline.pexpire(key, expiry, None).await?;
            }
            let (first, count) = self.put(&pipeline, room, node).await?;
            let write = telemetry::span::pipeline(span, "refresh", &first, count + keys.len());
            let () = redis::observed(write, "pipeline", "", pipeline.all()).await?;
            self.keep_metadata(span, room).await
        }
        .await;
        if result.is_err() {
            self.freshness.forget(room, node);
        }
        self.best_effort(result, room);
    }

    /// Puts a room and a gateway into the indexes; the first key and how many commands that takes.
    async fn put(
        &self,
        pipeline: &fred::clients::Pipeline<fred::clients::Client>,
        room: &RoomId,
        node: &InstanceId,
    ) -> Result<(String, usize), fred::error::Error> {
        let expiry = i64::try_from(self.expiry_ms()).unwrap_or(i64::MAX);
        let due = (self.bus.redis_now_ms() + self.ttl_ms) as f64;
        let (index, rooms) = (keyspace::due(room), keyspace::node_rooms(node));
        let () = pipeline.zadd(&index, Some(SetOptions::NX), None, false, false, (due, room.as_str())).await?;
        let () = pipeline.pexpire(&index, expiry, None).await?;
        let () = pipeline.sadd(&rooms, room.as_str()).await?;
        let () = pipeline.pexpire(rooms, expiry, None).await?;
        Ok((index, 4))
    }

    /// A gateway has nobody in the room any more.
    pub async fn node_left(&self, room: &RoomId, node: &InstanceId) {
        self.freshness.forget(room, node);
        let removed = self.client().srem(keyspace::node_rooms(node), room.as_str());
        let result = redis::observed(Span::none(), "srem", "", removed).await;
        self.best_effort(result, room);
    }

    /// Nobody is in the room any more.
    pub async fn emptied(&self, room: &RoomId) {
        let removed = self.client().zrem(keyspace::due(room), room.as_str());
        let result = redis::observed(Span::none(), "zrem", "", removed).await;
        self.best_effort(result, room);
    }

    /// The room is due then.
    pub async fn due(&self, room: &RoomId, due_ms: u64) {
        let value = (due_ms as f64, room.as_str());
        let put = self.client().zadd(keyspace::due(room), Some(SetOptions::XX), None, false, false, value);
        let result = redis::observed(Span::none(), "zadd", "", put).await;
        self.best_effort(result, room);
    }

    fn best_effort(&self, result: Result<(), fred::error::Error>, room: &RoomId) {
        if let Err(error) = result {
            tracing::debug!(%error, %room, "an index was not written; a touch will put it back");
        }
    }
}
