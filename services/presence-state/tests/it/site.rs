//! A store with a Redis of its own, a room in it, and gateways that hold leases.

use std::sync::Arc;

use fred::{
    clients::Client,
    interfaces::{ClientLike as _, KeysInterface as _, SortedSetsInterface as _},
};
use rollcall_bus::{Bus, Listener, Role, redis};
use rollcall_presence_state::store::{Beat, Caller, Eviction, Read, Reaped, Store};
use rollcall_protocol::{
    Info, InstanceId, RoomId,
    command::{Heartbeat, Join, JoinResult, Joined, JoinedOne, Leave, Member, Restore, Restored, Snapshot},
    event::Reason,
};
use rollcall_service::Tasks;
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};
use serde_json::value::RawValue;
use tracing::Span;

use crate::events::Events;

/// Long enough that nothing expires by itself while a test runs.
pub(crate) const TTL_MS: u64 = 60_000;
/// The gateway of every command that names no other.
pub(crate) const GATEWAY: &str = "presence-gateway-0000000a";
/// Another one.
pub(crate) const OTHER: &str = "presence-gateway-0000000b";

struct NullListener;
impl Listener for NullListener {}

/// See the module.
pub(crate) struct Site {
    pub(crate) room: RoomId,
    pub(crate) store: Arc<Store>,
    pub(crate) bus: Arc<Bus>,
    pub(crate) span: Span,
    /// Connections besides those of the store.
    extra: redis::Redis,
    /// Last, so that it outlives the connections.
    _server: Redis,
}

impl Site {
    /// An empty Redis and the room `lobby`.
    pub(crate) async fn open() -> Self {
        let server = Redis::start();
        let connect = || redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
        let bus = Bus::connect(connect(), Role::State, "presence-state-00000001".into());
        bus.start(Arc::new(NullListener));
        let extra = connect();
        until("Redis answers", async || bus.check_redis().ok()).await;
        extra.commands.wait_for_connect().await.unwrap();
        extra.subscriber.wait_for_connect().await.unwrap();
        let store = Arc::new(Store::new(Arc::clone(&bus), TTL_MS, Tasks::default().spawner()));
        let site = Self { room: "lobby".into(), store, bus, span: Span::none(), extra, _server: server };
        site.lease(&[GATEWAY, OTHER, "presence-gateway-00000000", "presence-gateway-00000001"]).await;
        site
    }

    /// These gateways hold their leases as long as the test runs.
    async fn lease(&self, gateways: &[&str]) {
        let far = 4_000_000_000_000_f64;
        let leases: Vec<_> = gateways.iter().map(|gateway| (far, *gateway)).collect();
        let () = self.redis().zadd("prs:{directory}:leases", None, None, false, false, leases).await.unwrap();
        // The list is read again where the number of changes was lost.
        let () = self.redis().del("prs:{directory}:changes").await.unwrap();
        let last = InstanceId::from(*gateways.last().unwrap());
        until("the gateways are known", async || self.bus.view().is_alive(&last).then_some(())).await;
    }

    /// A client to look at Redis with.
    pub(crate) fn redis(&self) -> &Client {
        &self.extra.commands
    }

    /// What the keys of the room's partition begin with.
    pub(crate) fn base(&self) -> String {
        self.bus.subjects().partition(self.room.partition())
    }

    /// The room's two keys.
    pub(crate) fn keys(&self) -> [String; 2] {
        [rollcall_keyspace::room(&self.base(), &self.room), rollcall_keyspace::members(&self.base(), &self.room)]
    }

    /// All keys but those of the directory.
    pub(crate) async fn all_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.redis().custom(fred::cmd!("KEYS"), vec!["*"]).await.unwrap();
        keys.retain(|key| !key.starts_with("prs:{directory}:"));
        keys.sort();
        keys
    }

    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller::patient(&self.span)
    }

    /// What the room says from now on.
    pub(crate) async fn listen(&self) -> Events {
        Events::of(&self.extra, &self.room).await
    }

    pub(crate) async fn join_together(&self, joins: &[Join]) -> Joined {
        let joins: Vec<_> = joins.iter().map(|join| (join, TraceContext::default())).collect();
        self.store.join(self.caller(), &self.room, &joins).await.unwrap().joined
    }

    pub(crate) async fn join(&self, join: Join) -> JoinedOne {
        self.join_together(&[join]).await.joins.pop().unwrap()
    }

    pub(crate) async fn restore(&self, gateway: &str, members: Vec<Restored>) -> u64 {
        let restore = Restore { room: self.room.clone(), gateway: gateway.into(), members, strays: None };
        self.store.restore(self.caller(), &restore).await.unwrap()
    }

    pub(crate) async fn beat(&self, beat: Heartbeat) -> Beat {
        self.heartbeat(&beat).await
    }

    pub(crate) async fn heartbeat(&self, beat: &Heartbeat) -> Beat {
        self.store.heartbeats(u64::MAX, &[(beat, &Span::none())]).await.unwrap().pop().unwrap()
    }

    pub(crate) async fn leave(&self, conn: &str, op: u64) -> Option<u64> {
        let leave = Leave { room: self.room.clone(), conn: conn.into(), op, reason: Reason::Left };
        self.store.leave(self.caller(), &leave).await.unwrap()
    }

    /// One call of a reap of the room's partition.
    pub(crate) async fn reap(&self, gone: &[&str]) -> Reaped {
        let gone: Vec<_> = gone.iter().map(|gateway| InstanceId::from(*gateway)).collect();
        self.store.reap(self.caller(), self.room.partition(), &gone).await.unwrap()
    }

    /// Evicts what gateways have in the room, in as many calls as it takes.
    pub(crate) async fn evict(&self, gateways: &[&str]) -> u64 {
        let gateways: Vec<_> =
            gateways.iter().map(|name| rollcall_keyspace::gateway_code(&InstanceId::from(*name)).to_owned()).collect();
        let eviction = Eviction {
            room: &self.room,
            gateways: &gateways,
            reason: Reason::NodeLost,
            before_ms: 0,
            stay: &[],
            with_locks: true,
        };
        self.store.evict_all(self.caller(), &eviction).await.unwrap()
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        match self.store.snapshot(&self.span, &self.room, None).await.unwrap() {
            Read::Room(snapshot, _) => snapshot,
            Read::Unchanged => panic!("nothing was known"),
        }
    }

    /// Sets memory so that Redis takes nothing more, or everything again.
    pub(crate) async fn fill(&self, is_full: bool) {
        let bytes = if is_full { "1" } else { "0" };
        let () = self.redis().custom(fred::cmd!("CONFIG"), vec!["SET", "maxmemory", bytes]).await.unwrap();
    }
}

/// A first join to the room `lobby` with an empty state.
pub(crate) fn join(conn: &str, user: &str, op: u64) -> Join {
    Join {
        room: "lobby".into(),
        user: user.into(),
        conn: conn.into(),
        gateway: GATEWAY.into(),
        op,
        known_epoch: 0,
        info: None,
        state: json("{}"),
    }
}

/// A heartbeat that wants nothing.
pub(crate) fn beat(conn: &str, op: u64, base_op: u64) -> Heartbeat {
    let room = "lobby".into();
    Heartbeat { room, conn: conn.into(), op, base_op, known_epoch: 0, epoch: None, info: None, state: None }
}

pub(crate) fn restored(conn: &str, user: &str, op: u64, epoch: u64, state: &str) -> Restored {
    Restored { conn: conn.into(), user: user.into(), op, epoch, info: None, state: json(state) }
}

pub(crate) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn info(text: &str) -> Option<Info> {
    Some(Info::new(&json(text)).unwrap())
}

/// An info by its text; empty for none.
pub(crate) fn info_text(info: Option<&RawValue>) -> &str {
    info.map_or("", RawValue::get)
}

/// Who these are, by name.
pub(crate) fn conns<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<&'a str> {
    let mut conns: Vec<_> = members.into_iter().map(|member| member.conn.as_str()).collect();
    conns.sort_unstable();
    conns
}

/// The epoch of a join that was carried out.
pub(crate) fn epoch(joined: &JoinedOne) -> u64 {
    match joined.result {
        JoinResult::Member { epoch, .. } => epoch,
        other => panic!("{other:?}"),
    }
}
