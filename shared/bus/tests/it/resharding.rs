//! A hash slot that is moving: its commands fail or wait, none runs twice or on a part of the keys, and no service ends.

use std::{sync::LazyLock, time::Duration};

use fred::{
    error::Error,
    interfaces::{ClientLike as _, KeysInterface as _},
    types::config::Options,
};
use rollcall_bus::{Bus, Role, Subjects, redis, script::Script};
use rollcall_protocol::Partition;
use rollcall_testkit::until;
use tokio::time::{Instant, timeout};

use crate::{
    instance::{Instance, Manner},
    servers::{Cluster, server_of, slot},
};

const GATEWAY: &str = "presence-gateway-0000000a";

/// Counts its calls. Like the scripts of presence-state it names the base of its keys, which is no key itself.
static COUNT: LazyLock<Script> =
    LazyLock::new(|| Script::new("count", "return redis.call('INCR', KEYS[1] .. ':count')"));

/// Counts its calls in both keys that it names.
static COUNT_BOTH: LazyLock<Script> =
    LazyLock::new(|| Script::new("count_both", "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])"));

async fn count(bus: &Bus, base: &str) -> Result<u64, Error> {
    COUNT.run(bus.commands(), base, Vec::new()).await
}

/// A gateway, and for each server the base of the first partition that it has.
async fn start(cluster: &Cluster) -> (Instance, [String; 3]) {
    let gateway = Instance::start(&cluster.url(), Role::Gateway, GATEWAY, Manner::Ignores);
    until("it is ready", async || gateway.is_ready().then_some(())).await;
    let subjects = Subjects::new("prs");
    let bases = [0, 1, 2].map(|server| {
        let mut bases = Partition::all().map(|partition| subjects.partition(partition));
        bases.find(|base| server_of(base) == server).unwrap()
    });
    (gateway, bases)
}

async fn is_running(bus: &Bus) -> bool {
    timeout(Duration::ZERO, bus.failed()).await.is_err()
}

#[tokio::test]
async fn a_slot_that_is_moving_ends_no_service_and_no_script_sees_a_part_of_its_keys() {
    let cluster = Cluster::start();
    let (gateway, [moving, elsewhere, _]) = start(&cluster).await;
    let bus = &gateway.bus;
    assert_eq!(count(bus, &moving).await.unwrap(), 1);

    cluster.begin_move(slot(&moving), 0, 1);
    let began = Instant::now();
    // Longer than the history of a server may be silent.
    while began.elapsed() < Duration::from_millis(2_500) {
        let asked = Instant::now();
        let error = count(bus, &moving).await.unwrap_err();
        assert!(redis::is_unsent(&error), "{error:?}");
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
        count(bus, &elsewhere).await.unwrap();
    }
    cluster.move_key(&format!("{moving}:count"), 0, 1);
    assert!(redis::is_unsent(&count(bus, &moving).await.unwrap_err()), "the key is at the target, the slot is not");
    assert!(gateway.is_ready() && is_running(bus).await);
    assert_eq!(*gateway.received.histories.lock().unwrap(), [] as [usize; 0], "its server was asked by another slot");

    cluster.end_move(slot(&moving), 0, 1);
    assert_eq!(count(bus, &moving).await.unwrap(), 2, "sent again to the new server; what was refused had not run");
    assert!(is_running(bus).await);
}

#[tokio::test]
async fn keys_that_are_on_both_servers_are_unavailable_until_all_have_moved() {
    let cluster = Cluster::start();
    let (gateway, [base, ..]) = start(&cluster).await;
    let keys = ["a", "b"].map(|key| format!("{base}:{key}"));
    let count = || COUNT_BOTH.run::<u64>(gateway.bus.commands(), keys.to_vec(), Vec::new());
    assert_eq!(count().await.unwrap(), 1);

    cluster.begin_move(slot(&base), 0, 1);
    assert_eq!(count().await.unwrap(), 2, "both are still at the source");
    cluster.move_key(&keys[0], 0, 1);
    let error = count().await.unwrap_err();
    assert!(error.details().starts_with("TRYAGAIN") && redis::is_unsent(&error), "{error:?}");
    cluster.move_key(&keys[1], 0, 1);
    assert!(redis::is_unsent(&count().await.unwrap_err()));
    cluster.end_move(slot(&base), 0, 1);
    assert_eq!(count().await.unwrap(), 3);
}

/// A server is asked by the first of its slots. When that has just moved, its new server answers, and is not taken for the old one.
#[tokio::test]
async fn slots_that_move_one_by_one_change_the_history_of_their_own_partitions_alone() {
    let cluster = Cluster::start();
    let (gateway, _) = start(&cluster).await;
    let subjects = Subjects::new("prs");
    // Not the directory's, which is asked for more than its history.
    let source = (server_of("prs:{directory}:leases") + 1) % 3;
    let target = (source + 1) % 3;
    // Before its first answer nothing is known of a server, so nothing can be missing. With the second question the first was answered.
    until("its history to be known", async || (cluster.calls(source, "time") >= 2).then_some(())).await;
    let bases =
        Partition::all().map(|partition| subjects.partition(partition)).filter(|base| server_of(base) == source);
    let reported = || gateway.received.histories.lock().unwrap().clone();
    for (moved, base) in bases.take(8).enumerate() {
        cluster.migrate(slot(&base), source, target);
        // From now on the client knows where the slot is.
        until("its commands run", async || count(&gateway.bus, &base).await.ok()).await;
        until("its history is reported", async || (reported().len() > moved).then_some(())).await;
    }
    assert_eq!(reported(), [1; 8], "of one partition each");
}

/// fred ends its task for several reasons (F10 in `docs/internals/libraries.md`). One of them is an `ASK` that it follows.
#[tokio::test]
async fn a_connection_that_the_library_gives_up_is_opened_again() {
    let cluster = Cluster::start();
    let (gateway, [moving, elsewhere, _]) = start(&cluster).await;
    let bus = &gateway.bus;
    count(bus, &elsewhere).await.unwrap();
    cluster.begin_move(slot(&moving), 0, 1);
    let follows = bus.commands().with_options(&Options { max_redirections: Some(1), ..Options::default() });
    // Not a script: fred ignores such options for them.
    let followed = follows.get::<Option<String>, _>(moving.as_str());
    assert_eq!(followed.await.unwrap_err().details(), "Max attempts reached.");

    let broken = Instant::now();
    until("commands work again", async || count(bus, &elsewhere).await.ok()).await;
    assert!(broken.elapsed() < Duration::from_secs(4), "{:?}", broken.elapsed());
    until("it is ready", async || gateway.is_ready().then_some(())).await;
    assert!(is_running(bus).await);
}
