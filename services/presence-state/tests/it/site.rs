//! A store with a Redis of its own, a room in it, and the hand that tests lend to time.

use std::sync::Arc;

use bus::{Bus, Listener, Role, redis};
use fred::{
    clients::Client,
    interfaces::{ClientLike as _, SortedSetsInterface as _},
};
use keyspace::RoomKeys;
use presence_state::store::{Beat, Evicted, Eviction, Store};
use protocol::{
    ConnId, RoomId,
    client::Member,
    command::{EvictNode, Heartbeat, Join, Joined, JoinedOne, Leave, RoomTouch, Snapshot},
    event::Reason,
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use testkit::{Redis, until};
use tracing::Span;

use crate::events::Events;

/// Long enough that nothing expires by itself while a test runs.
pub(crate) const TTL_MS: u64 = 60_000;
/// The gateway of every command that names no other.
pub(crate) const NODE: &str = "presence-gateway-0000000a";

struct Deaf;
impl Listener for Deaf {}

/// See the module.
pub(crate) struct Site {
    pub(crate) room: RoomId,
    pub(crate) store: Store,
    pub(crate) bus: Arc<Bus>,
    /// Connections beside those of the store.
    beside: redis::Redis,
    /// Last, so that it outlives the connections.
    _server: Redis,
}

impl Site {
    /// An empty Redis and the room `lobby`.
    pub(crate) async fn open() -> Self {
        let server = Redis::start();
        let connect = || redis::connect(redis::parse_url(&server.url()).unwrap()).unwrap();
        let bus = Bus::connect(connect(), Role::State, "presence-state-00000001".into());
        bus.start(Arc::new(Deaf));
        let beside = connect();
        until("Redis answers", async || bus.check_redis().ok()).await;
        beside.commands.wait_for_connect().await.unwrap();
        beside.subscriber.wait_for_connect().await.unwrap();
        Self { room: "lobby".into(), store: Store::new(Arc::clone(&bus), TTL_MS, TTL_MS), bus, beside, _server: server }
    }

    /// A client to look at Redis with.
    pub(crate) fn redis(&self) -> &Client {
        &self.beside.commands
    }

    /// The keys of the room.
    pub(crate) fn keys(&self) -> RoomKeys {
        RoomKeys::of(&self.room)
    }

    /// What the room says from now on.
    pub(crate) async fn listen(&self) -> Events {
        Events::of(&self.beside, &self.room).await
    }

    pub(crate) async fn join_together(&self, joins: &[Join]) -> Joined {
        let joins: Vec<_> = joins.iter().map(|join| (join, TraceContext::default())).collect();
        self.store.join(&Span::none(), &self.room, &joins).await.unwrap().0
    }

    pub(crate) async fn join(&self, join: Join) -> JoinedOne {
        self.join_together(&[join]).await.joins.pop().unwrap()
    }

    pub(crate) async fn beat(&self, beat: Heartbeat) -> Beat {
        self.heartbeat(&beat).await
    }

    pub(crate) async fn heartbeat(&self, beat: &Heartbeat) -> Beat {
        self.store.heartbeats(&[(beat, &Span::none())]).await.unwrap().pop().unwrap()
    }

    pub(crate) async fn leave(&self, conn: &str, op: u64) -> Option<u64> {
        let leave = Leave {
            room: self.room.clone(),
            conn: conn.into(),
            node: NODE.into(),
            op,
            reason: Reason::Left,
            last_of_node: false,
        };
        self.store.leave(&Span::none(), &leave, &TraceContext::default()).await.unwrap()
    }

    pub(crate) async fn reap(&self) -> Eviction {
        self.store.reap(&Span::none(), &self.room, &TraceContext::default()).await.unwrap()
    }

    pub(crate) async fn evict_node(&self, node: &str, lease_end_ms: u64) -> Evicted {
        let evict = EvictNode { room: self.room.clone(), node: node.into(), lease_end_ms };
        self.store.evict_node(&Span::none(), &evict, &TraceContext::default()).await.unwrap()
    }

    pub(crate) async fn touch(&self, alive: &[(&str, u64)]) -> Vec<ConnId> {
        let alive = alive.iter().map(|(conn, age)| ((*conn).into(), *age)).collect();
        self.store.touch(&Span::none(), &[RoomTouch { room: self.room.clone(), alive }]).await.unwrap()
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.store.snapshot(&Span::none(), &self.room, None).await.unwrap().unwrap()
    }

    /// When a connection was last heard of.
    pub(crate) async fn last_seen(&self, conn: &str) -> Option<u64> {
        let score: Option<f64> = self.redis().zscore(self.keys().last_seen, conn).await.unwrap();
        score.map(|score| score as u64)
    }

    /// Makes it so that a connection was last heard of so long ago; answers when.
    pub(crate) async fn silence(&self, conn: &str, age_ms: u64) -> u64 {
        let seen = self.bus.redis_now_ms() - age_ms;
        let () = self.redis().zadd(self.keys().last_seen, None, None, false, false, (seen as f64, conn)).await.unwrap();
        seen
    }
}

/// A first join to the room `lobby` with an empty state.
pub(crate) fn join(conn: &str, user: &str, op: u64) -> Join {
    Join {
        room: "lobby".into(),
        user: user.into(),
        conn: conn.into(),
        node: NODE.into(),
        op,
        known_epoch: 0,
        restore: false,
        state: json("{}"),
    }
}

/// A plain heartbeat on the full way.
pub(crate) fn beat(conn: &str, op: u64, base_op: u64) -> Heartbeat {
    Heartbeat { room: "lobby".into(), conn: conn.into(), node: NODE.into(), op, base_op, epoch: None, state: None }
}

pub(crate) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// Who these are, in order.
pub(crate) fn conns<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<&'a str> {
    members.into_iter().map(|member| member.conn_id.as_str()).collect()
}
