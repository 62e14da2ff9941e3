//! A failover behind a name: the name leads to the new primary, while the demoted one keeps its connections open.

use std::{
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use fred::{
    interfaces::{ClientInterface as _, ClientLike as _, SortedSetsInterface as _},
    types::{
        InfoKind,
        client::{ClientKillFilter, ClientKillType},
    },
};
use rollcall_bus::{Role, redis};
use rollcall_protocol::command::{Command, SnapshotQuery};
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};

use crate::{
    instance::{Instance, Manner},
    site::Site,
    wire::Address,
};

/// One renewal of the lease, a new connection and the next renewal, with time to spare on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(2_500);

/// A gateway and a presence-state that found the server of `site` by a name, and the server that the name will lead to.
struct Moved {
    site: Site,
    next: Redis,
    name: Address,
    both: [Instance; 2],
}

impl Moved {
    async fn open() -> Self {
        let (site, next) = (Site::open().await, Redis::start());
        let name = Address::of(&site.server.url());
        let start = |role, id, manner| Instance::start(&name.url, role, id, manner);
        let both = [
            start(Role::Gateway, "presence-gateway-0000000b", Manner::Ignores),
            start(Role::State, "presence-state-0000000b", Manner::Answers),
        ];
        until("both are ready", async || both.iter().all(Instance::is_ready).then_some(())).await;
        Self { site, next, name, both }
    }

    fn next(&self) -> [String; 2] {
        let url = self.next.url();
        let (host, port) = url.trim_start_matches("redis://").split_once(':').unwrap();
        [host.to_owned(), port.to_owned()]
    }

    /// How long both take to leave a server that `demote` makes another one than the primary.
    async fn both_move(&self, demote: impl Future<Output = ()>) -> Duration {
        self.name.lead_newcomers_to(&self.next.url());
        let began = Instant::now();
        demote.await;
        self.both_arrive().await;
        began.elapsed()
    }

    /// Both are complete at the next server: they have their leases there, nothing of them stayed, and each hears the other.
    async fn both_arrive(&self) {
        let next = redis::connect(redis::Config::from_url(&self.next.url()).unwrap()).unwrap().commands;
        let query = Command::Snapshot(SnapshotQuery { room: "room".into(), known: None });
        until("they are at the new one, and hear each other", async || {
            for instance in &self.both {
                let inbox = self.site.subjects.inbox(instance.name());
                let lease: Option<f64> = next.zscore("prs:{directory}:leases", instance.name().as_str()).await.ok()?;
                if lease.is_none() || self.site.subscribers(&inbox).await > 0 || !instance.is_ready() {
                    return None;
                }
            }
            self.both[0].bus.call(&query, TraceContext::default()).await.ok()
        })
        .await;
    }
}

/// Sends a command over a connection of its own, and does not wait for the answer.
fn send(server: &Redis, command: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url().trim_start_matches("redis://")).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    stream
}

#[tokio::test]
async fn a_demoted_server_is_left_at_once() {
    let moved = Moved::open().await;
    let [host, port] = moved.next();
    let took = moved.both_move(moved.site.custom("REPLICAOF", &[&host, &port])).await;
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_left_at_once() {
    let moved = Moved::open().await;
    moved.site.custom("CONFIG", &["SET", "replica-serve-stale-data", "no"]).await;
    let took = moved.both_move(moved.site.custom("REPLICAOF", &["127.0.0.1", "1"])).await;
    assert!(took < AT_ONCE, "{took:?}");
}

/// As while a demoted server loads what the new one sent it.
#[tokio::test]
async fn a_server_that_loads_is_left_at_once() {
    let moved = Moved::open().await;
    moved.site.custom("DEBUG", &["POPULATE", "20000"]).await;
    // 10 s in all, and clients are answered once a kilobyte.
    moved
        .site
        .custom("CONFIG", &["SET", "key-load-delay", "500", "loading-process-events-interval-bytes", "1024"])
        .await;
    let _loader = send(&moved.site.server, "DEBUG RELOAD");
    let took = moved.both_move(async {}).await;
    assert!(took < AT_ONCE, "{took:?}");
    let info: String = moved.site.redis.info(Some(InfoKind::Persistence)).await.unwrap();
    assert!(info.contains("loading:1"), "{info}");
}

/// Only the connection for commands was lost: the other stays at the demoted server, which even delivers what the new primary
/// replicates to it. At the new primary the inbox has no receiver, so everyone takes the instance for gone.
#[tokio::test]
async fn a_subscription_that_stayed_behind_follows() {
    let moved = Moved::open().await;
    let [host, port] = moved.next();
    let _ = send(&moved.next, "CONFIG SET repl-diskless-sync-delay 0");
    moved.name.lead_newcomers_to(&moved.next.url());
    let normal = vec![ClientKillFilter::Type(ClientKillType::Normal), ClientKillFilter::SkipMe(true)];
    let _: u64 = moved.site.redis.client_kill(normal).await.unwrap();
    moved.site.custom("REPLICAOF", &[&host, &port]).await;
    moved.both_arrive().await;
}
