//! Evictions check the leases again: nothing is evicted in a truce, or of a gateway that started, or came back, since the leases
//! were read.

use std::sync::Arc;

use rollcall_bus::{Bus, Listener, Role, redis};
use rollcall_protocol::{
    Fault, InstanceId, RoomId,
    command::{Command, Join, Member, Outcome, Reap, SnapshotQuery},
};
use rollcall_service::Tasks;
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};
use serde_json::value::RawValue;
use tracing::Span;

use super::evict;
use crate::{
    command,
    store::{Caller, Read, Store},
};

const ALIVE: &str = "presence-gateway-0000000a";
const GONE: &str = "presence-gateway-0000000b";

struct NullListener;
impl Listener for NullListener {}

struct Site {
    bus: Arc<Bus>,
    store: Arc<Store>,
    room: RoomId,
    span: Span,
    server: Redis,
    _tasks: Tasks,
}

impl Site {
    async fn open() -> Self {
        let server = Redis::start();
        let bus = start(&server, Role::State, "presence-state-00000001").await;
        let tasks = Tasks::default();
        let store = Arc::new(Store::new(Arc::clone(&bus), 60_000, tasks.spawner()));
        Self { bus, store, room: "lobby".into(), span: Span::none(), server, _tasks: tasks }
    }

    /// Starts a gateway, which has its lease from now on; the leases were usually last read before that.
    async fn begin(&self, gateway: &str) -> Arc<Bus> {
        start(&self.server, Role::Gateway, gateway).await
    }

    async fn calm(&self) {
        let half = std::time::Duration::from_secs(5);
        until("half the truce", async || self.bus.truce().is_none_or(|truce| truce.left < half).then_some(())).await;
        until("the truce ends", async || self.bus.truce().is_none().then_some(())).await;
    }

    fn caller(&self) -> Caller<'_> {
        Caller::patient(&self.span)
    }

    /// Joins a member on `gateway`; answers whom it is shown.
    async fn join(&self, conn: &str, gateway: &str) -> Vec<String> {
        let join = Join {
            room: self.room.clone(),
            user: "ann".into(),
            conn: conn.into(),
            gateway: gateway.into(),
            op: 1,
            known_epoch: 0,
            info: None,
            state: RawValue::from_string("{}".to_owned()).unwrap(),
        };
        let joined = super::join(&self.store, self.caller(), &[(&join, TraceContext::default())]).await.unwrap();
        conns(joined.seen_by(0))
    }

    async fn members(&self) -> Vec<String> {
        match self.store.snapshot(&self.span, &self.room, None).await.unwrap() {
            Read::Room(snapshot, _) => conns(snapshot.members.iter()),
            Read::Unchanged => panic!("nothing was known"),
        }
    }

    async fn carry_out(&self, command: &Command) -> Result<Outcome, Fault> {
        Box::pin(command::carry_out(&self.store, self.caller(), command)).await
    }

    /// Reaps a gateway that seems to be gone; answers how many connections were evicted.
    async fn reap(&self, gateway: &str) -> u64 {
        let reap = Command::Reap(Reap { partition: self.room.partition(), gone: vec![gateway.into()] });
        // On a busy machine it is rejected until the leases have been read again.
        until("it is reaped", async || match self.carry_out(&reap).await {
            Ok(Outcome::Reaped { evicted, .. }) => Some(evicted),
            _ => None,
        })
        .await
    }

    /// Clears the room of a gateway that seems to be gone.
    async fn clear(&self, gateway: &str) {
        let gateway = InstanceId::from(gateway);
        evict::gone(&self.store, &self.span, &self.room, vec![rollcall_keyspace::gateway_code(&gateway).to_owned()]);
        self.cleared().await;
    }

    async fn cleared(&self) {
        until("it is done", async || self.store.begin_clearing(&self.room).map(drop)).await;
    }
}

async fn start(server: &Redis, role: Role, name: &str) -> Arc<Bus> {
    let connections = redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
    let bus = Bus::connect(connections, role, name.into());
    bus.start(Arc::new(NullListener));
    until("it has its lease", async || bus.check_redis().and(bus.check_inbox()).ok()).await;
    bus
}

fn conns<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<String> {
    let mut conns: Vec<_> = members.map(|member| member.conn.to_string()).collect();
    conns.sort_unstable();
    conns
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_members_of_gone_gateways_are_evicted() {
    let site = Site::open().await;
    let _alive = site.begin(ALIVE).await;
    let back = ["reap", "clear", "show"].map(|name| (name, format!("presence-gateway-back-{name:0>8}")));
    site.join("alive", ALIVE).await;
    site.join("gone", GONE).await;
    for (name, gateway) in &back {
        site.join(name, gateway).await;
    }
    let everyone = ["alive", "clear", "gone", "reap", "show"];
    assert_eq!(site.reap(GONE).await, 0, "in a truce");
    site.clear(GONE).await;
    assert_eq!(site.members().await, everyone, "in a truce");
    site.calm().await;

    let [reap, clear, show] = back.map(|(_, gateway)| gateway);
    let _back = site.begin(&reap).await;
    assert_eq!(site.reap(&reap).await, 0, "its lease is newer than the view");
    let _back = (_back, site.begin(&clear).await);
    site.clear(&clear).await;
    let _back = (_back, site.begin(&show).await);
    assert!(site.join("newcomer", ALIVE).await.contains(&"show".to_owned()));
    site.cleared().await;
    assert_eq!(site.reap(ALIVE).await, 0);
    site.clear(ALIVE).await;
    site.reap(GONE).await;
    assert_eq!(site.members().await, ["alive", "clear", "newcomer", "reap", "show"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn joins_and_snapshots_evict_members_of_gone_gateways_except_recent_ones() {
    let site = Site::open().await;
    let _alive = site.begin(ALIVE).await;
    site.join("alive", ALIVE).await;
    site.calm().await;
    // The gateway of recent members may have started since the leases were read.
    let shown = async || {
        site.cleared().await;
        let seen_ms = site.bus.seen_ms();
        site.join("young", GONE).await;
        let shown = site.join("newcomer", ALIVE).await;
        (site.bus.seen_ms() == seen_ms).then_some(shown)
    };
    assert_eq!(until("both joins between two reads of the leases", shown).await, ["alive", "newcomer", "young"]);

    let later = site.bus.redis_now_ms() + 1_000;
    until("the leases were read", async || (site.bus.seen_ms() > later).then_some(())).await;
    let look = Command::Snapshot(SnapshotQuery { room: site.room.clone(), known: None });
    until("a snapshot evicts it", async || {
        site.carry_out(&look).await.unwrap();
        site.cleared().await;
        (site.members().await == ["alive", "newcomer"]).then_some(())
    })
    .await;
    site.join("old", GONE).await;
    let later = site.bus.redis_now_ms() + 1_000;
    until("the leases were read", async || (site.bus.seen_ms() > later).then_some(())).await;
    until("a join evicts it", async || {
        site.join("last", ALIVE).await;
        site.cleared().await;
        (site.members().await == ["alive", "last", "newcomer"]).then_some(())
    })
    .await;
}
