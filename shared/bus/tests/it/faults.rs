//! Redis is down, restarts, is full: what the bus reports.

use std::{process, time::Duration};

use fred::{
    interfaces::{ClientInterface as _, ClientLike as _, KeysInterface as _, SortedSetsInterface as _},
    types::{
        InfoKind,
        client::{ClientKillFilter, ClientKillType},
    },
};
use rollcall_bus::{Role, Why};
use rollcall_protocol::Partition;
use rollcall_testkit::{Redis, until};

use crate::{
    instance::{Instance, Manner},
    site::Site,
    wire::Address,
};

const GATEWAY: &str = "presence-gateway-0000000b";
const ALL: usize = Partition::COUNT as usize;

fn why(instance: &Instance) -> Option<Why> {
    instance.bus.truce().map(|truce| truce.why)
}

fn histories(instance: &Instance) -> Vec<usize> {
    instance.received.histories.lock().unwrap().clone()
}

/// The truce of the own start is over.
async fn calm(instance: &Instance) {
    let left = instance.bus.truce().unwrap().left;
    assert!(left <= Duration::from_secs(10) && why(instance) == Some(Why::Start));
    // `until` alone ends after ten seconds, just when this does.
    until("half of the truce", async || instance.bus.truce().is_some_and(|now| now.left < left / 2).then_some(()))
        .await;
    until("the truce ends", async || instance.bus.truce().is_none().then_some(())).await;
    assert_eq!(histories(instance), [] as [usize; 0], "the own start changes no history");
}

/// Stops or continues the server's process.
async fn signal(site: &Site, pid: &str, signal: &str) {
    assert!(process::Command::new("kill").args([signal, pid]).status().unwrap().success(), "{}", site.server.url());
}

#[tokio::test]
async fn a_silence_of_redis_begins_a_truce_and_changes_history() {
    let site = Site::open().await;
    let gateway = &site.gateway;
    calm(gateway).await;
    let info: String = site.redis.info(Some(InfoKind::Server)).await.unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().to_owned();
    signal(&site, &pid, "-STOP").await;
    until("silence is a truce", async || (why(gateway) == Some(Why::Silence)).then_some(())).await;
    assert!(gateway.bus.lease_age().unwrap() >= Duration::from_millis(1_500));
    until("Redis is said not to answer", async || gateway.bus.check_redis().err()).await;
    assert_eq!(histories(gateway), [] as [usize; 0], "it has not answered yet");
    signal(&site, &pid, "-CONT").await;
    until("it answers", async || gateway.bus.check_redis().ok()).await;
    let truce = gateway.bus.truce().unwrap();
    assert!(truce.why == Why::Silence && truce.left > Duration::from_secs(9), "{truce:?}");
    let received = histories(gateway);
    assert!(!received.is_empty() && received.iter().all(|partitions| *partitions == ALL), "{received:?}");
}

#[tokio::test]
async fn a_restarted_server_has_another_history() {
    let (first, second) = (Redis::start(), Redis::start());
    let address = Address::of(&first.url());
    let gateway = Instance::start(&address.url, Role::Gateway, GATEWAY, Manner::Ignores);
    until("it is ready", async || gateway.is_ready().then_some(())).await;
    assert_eq!(why(&gateway), Some(Why::Start));
    address.lead_to(&second.url());
    until("the truce of the new history", async || (why(&gateway) == Some(Why::History)).then_some(())).await;
    assert_eq!(histories(&gateway), [ALL], "said once");
    until("it is in the new directory", async || gateway.bus.view().is_alive(gateway.name()).then_some(())).await;
    until("it is ready again", async || gateway.is_ready().then_some(())).await;
}

#[tokio::test]
async fn a_new_connection_changes_history_and_begins_no_truce() {
    let site = Site::open().await;
    calm(&site.gateway).await;
    // Nothing happened for ten seconds: no truce, no history. Now the connections for commands are cut, ours among them.
    let _: u64 = site.redis.client_kill(vec![ClientKillFilter::Type(ClientKillType::Normal)]).await.unwrap();
    until("history", async || histories(&site.gateway).first().copied()).await;
    assert_eq!((histories(&site.gateway), why(&site.gateway)), (vec![ALL], None));
}

#[tokio::test]
async fn a_full_redis_renews_leases() {
    let site = Site::open().await;
    site.custom("CONFIG", &["SET", "maxmemory", "1mb"]).await;
    let full = async || site.redis.set::<(), _, _>("key", "x", None, None, false).await.err();
    let error = until("it is full", full).await;
    assert!(error.details().starts_with("OOM"), "{error}");
    let lease = async || site.redis.zscore::<u64, _, _>("prs:{directory}:leases", site.gateway.name().as_str()).await;
    let before = lease().await.unwrap();
    until("the lease is renewed", async || lease().await.ok().filter(|now| *now > before)).await;
    let newcomer = site.start(Role::State, "presence-state-00000001", Manner::Answers).await;
    newcomer.bus.deregister().await;
    until("it has gone", async || (!site.gateway.bus.view().is_alive(newcomer.name())).then_some(())).await;
    assert!(site.gateway.is_ready());
}

#[tokio::test]
async fn a_refusal_is_not_silence_and_is_reported_in_redis_own_words() {
    let site = Site::open().await;
    let state = site.start(Role::State, "presence-state-00000001", Manner::Answers).await;
    // A replica of no one: it refuses writes and answers everything else.
    site.custom("REPLICAOF", &["127.0.0.1", "1"]).await;
    let said = until("it is unready", async || site.gateway.bus.check_redis().err()).await;
    // New connections are being opened, so it may be between two of them.
    assert!(said.trim_start_matches("not connected: ").starts_with("READONLY"), "{said}");
    until("the lease is old", async || site.gateway.bus.lease_age().filter(|age| age.as_millis() > 2_000)).await;
    assert_eq!(why(&site.gateway), Some(Why::Silence), "no one can renew");
    // New connections are opened again and again, for another server may be the primary by then.
    until("it is not silent", async || site.call("room").await.ok()).await;
    drop(state);
    site.custom("REPLICAOF", &["NO", "ONE"]).await;
    until("promoted, with another id", async || (why(&site.gateway) == Some(Why::History)).then_some(())).await;
    until("it is ready", async || site.gateway.is_ready().then_some(())).await;
}

#[tokio::test]
async fn the_reason_of_a_failed_connection_is_reported() {
    let site = Site::open().await;
    site.custom("CONFIG", &["SET", "requirepass", "secret"]).await;
    let url = site.server.url().replace("redis://", "redis://:wrong@");
    let stranger = Instance::start(&url, Role::Gateway, GATEWAY, Manner::Ignores);
    let said = until("why", async || stranger.bus.check_redis().err().filter(|said| said.contains("WRONGPASS"))).await;
    assert!(said.starts_with("not connected: "), "{said}");
}
