//! A failover behind a name: the name leads to the new primary, while the demoted one keeps its connections open.

use std::{
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use fred::{
    interfaces::ClientInterface as _,
    types::client::{ClientKillFilter, ClientKillType},
};
use rollcall_bus::Role;
use rollcall_protocol::command::{Command, SnapshotQuery};
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::{Redis, until};

use crate::{
    instance::{Instance, Manner},
    site::Site,
    wire::Address,
};

/// One renewal of the lease, with time to spare on a busy machine. A second refusal would come a second later at the earliest.
const AT_ONCE: Duration = Duration::from_millis(1_700);

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

    async fn demote(&self, command: &'static str, args: &[&str]) {
        self.name.lead_newcomers_to(&self.next.url());
        self.site.custom(command, args).await;
    }

    /// How long both take to leave the server after they noticed what it is.
    async fn both_move(&self) -> Duration {
        until("it is noticed", async || self.both[0].bus.check_redis().err()).await;
        let noticed = Instant::now();
        self.both_arrive().await;
        noticed.elapsed()
    }

    /// Both are complete at the next server: commands arrive, and each hears the other.
    async fn both_arrive(&self) {
        let query = Command::Snapshot(SnapshotQuery { room: "room".into(), known: None });
        until("they are at the new one, and hear each other", async || {
            let is_answered = self.both[0].bus.call(&query, TraceContext::default()).await.is_ok();
            (self.both.iter().all(Instance::is_ready) && is_answered).then_some(())
        })
        .await;
        for instance in &self.both {
            assert_eq!(self.site.subscribers(&self.site.subjects.inbox(instance.name())).await, 0, "none stayed");
        }
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
    moved.demote("REPLICAOF", &[&host, &port]).await;
    let took = moved.both_move().await;
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_left_at_once() {
    let moved = Moved::open().await;
    moved.site.custom("CONFIG", &["SET", "replica-serve-stale-data", "no"]).await;
    moved.demote("REPLICAOF", &["127.0.0.1", "1"]).await;
    let took = moved.both_move().await;
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
    moved.name.lead_newcomers_to(&moved.next.url());
    let _loader = send(&moved.site.server, "DEBUG RELOAD");
    let said = until("it loads", async || moved.both[0].bus.check_redis().err()).await;
    assert!(said.contains("LOADING"), "{said}");
    let took = moved.both_move().await;
    assert!(took < AT_ONCE, "{took:?}");
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
