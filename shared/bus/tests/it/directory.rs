//! The directory: instances that register, deregister, or lose their lease.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fred::{
    interfaces::{ClientLike as _, SortedSetsInterface as _},
    types::InfoKind,
};
use rollcall_bus::{Role, redis};
use rollcall_protocol::{
    Code,
    command::{Command, SnapshotQuery},
};
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::until;

use crate::{
    instance::{Instance, Manner},
    site::Site,
};

const STATE: &str = "presence-state-00000001";
const LOST: &str = "presence-gateway-0000000b";
const LEASES: &str = "prs:{directory}:leases";

async fn lease_end(site: &Site, name: &str) -> Option<f64> {
    site.redis.zscore(LEASES, name).await.unwrap()
}

/// Adds an instance whose lease ends then. No change is recorded, so that it is seen when the list is read.
async fn enter(site: &Site, name: &str, lease_end_ms: u64) {
    let entry = (lease_end_ms as f64, name);
    let () = site.redis.zadd(LEASES, None, None, false, false, entry).await.unwrap();
}

/// How often each command was called, within scripts too.
async fn calls(site: &Site) -> HashMap<String, u64> {
    let text: String = site.redis.info(Some(InfoKind::CommandStats)).await.unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    lines.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap())).collect()
}

#[tokio::test]
async fn deregistering_removes_the_entry_at_once_and_for_good() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    assert!(lease_end(&site, STATE).await.is_some());
    let mut changes = site.gateway.bus.changes();
    changes.mark_unchanged();
    state.bus.deregister().await;
    assert_eq!(lease_end(&site, STATE).await, None);
    tokio::time::timeout(Duration::from_secs(1), changes.changed()).await.unwrap().unwrap();
    assert!(site.gateway.bus.check_states().is_err());
    // It lives on for a while, to finish what is under way.
    let some_renewals_later = site.gateway.bus.redis_now_ms() + 1_500;
    until("time has passed", async || {
        assert_eq!(lease_end(&site, STATE).await, None);
        (site.gateway.bus.redis_now_ms() > some_renewals_later).then_some(())
    })
    .await;
    assert!(state.is_ready() && !state.bus.view().peers(Role::Gateway).is_empty(), "and still sees the others");
}

/// From now on connections may use channels by these rules.
async fn allow(site: &Site, rules: &[&str]) {
    let args: Vec<_> = ["SETUSER", "default"].iter().chain(rules).copied().collect();
    let _: String = site.redis.custom(fred::cmd!("ACL"), args).await.unwrap();
}

#[tokio::test]
async fn an_instance_without_a_lease_sends_no_requests() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    allow(&site, &["resetchannels", "&prs:inbox:presence-state-*"]).await;
    let gateway = Instance::start(&site.server.url(), Role::Gateway, LOST, Manner::Ignores);
    until("it knows the state", async || gateway.bus.check_states().ok()).await;
    let query = SnapshotQuery { room: "room".into(), known: None };
    let refused = gateway.bus.call(&Command::Snapshot(query), TraceContext::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(state.received.requests.lock().unwrap().is_empty(), "it would be answered nowhere");
}

#[tokio::test]
async fn an_instance_that_cannot_receive_yet_is_not_in_the_directory() {
    let site = Site::open().await;
    allow(&site, &["resetchannels"]).await;
    let state = Instance::start(&site.server.url(), Role::State, STATE, Manner::Answers);
    until("Redis has answered it", async || state.bus.check_redis().ok()).await;
    let before = calls(&site).await["evalsha"];
    let some_renewals_later = site.gateway.bus.redis_now_ms() + 2_000;
    until("time has passed", async || {
        assert_eq!(lease_end(&site, STATE).await, None);
        (site.gateway.bus.redis_now_ms() > some_renewals_later).then_some(())
    })
    .await;
    assert!(!state.is_ready());
    let renewals = calls(&site).await["evalsha"] - before;
    assert!(renewals < 10, "{renewals} renewals of two instances in two seconds");
    allow(&site, &["allchannels"]).await;
    until("it is registered", async || lease_end(&site, STATE).await).await;
    until("it is ready", async || state.is_ready().then_some(())).await;
}

#[tokio::test]
async fn any_renewal_removes_an_instance_whose_lease_ended() {
    let site = Site::open().await;
    let lost = Instance::start(&site.server.url(), Role::Gateway, LOST, Manner::Ignores);
    let is_alive = || site.gateway.bus.view().is_alive(&LOST.into());
    until("it is alive", async || is_alive().then_some(())).await;
    let mut changes = site.gateway.bus.changes();
    site.kill(lost).await;
    // As if it had died five seconds ago.
    enter(&site, LOST, site.gateway.bus.redis_now_ms() - 1).await;
    until("the view has changed", async || changes.has_changed().unwrap().then_some(())).await;
    changes.mark_unchanged();
    assert!(!is_alive() && lease_end(&site, LOST).await.is_none());
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn the_list_is_read_once_and_then_only_changes_are() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    let before = calls(&site).await;
    let other = site.start(Role::State, "presence-state-00000002", Manner::Answers).await;
    let known = || state.bus.view().is_alive(other.name());
    until("the other state knows it too", async || known().then_some(())).await;
    other.bus.deregister().await;
    until("all know that it has gone", async || (!known()).then_some(())).await;
    until("some renewals", async || (calls(&site).await["evalsha"] > before["evalsha"] + 20).then_some(())).await;
    assert_eq!(calls(&site).await["zrange"], before["zrange"] + 1, "the newcomer's own");
}

#[tokio::test]
async fn an_instance_that_was_found_gone_and_lives_is_back_long_before_its_lease_ends() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    let channel = site.subjects.inbox(state.name());
    // Its inbox alone is gone: it renews its lease, and subscribes again when its probe finds out.
    for _ in 0..3 {
        let found_gone = until("it is found gone", async || {
            state.bus.unsubscribe(&channel).await;
            let _ = site.call("room").await;
            (!site.gateway.bus.view().is_alive(state.name())).then(Instant::now)
        })
        .await;
        until("it is back", async || site.gateway.bus.view().is_alive(state.name()).then_some(())).await;
        // A renewal later: 0.75 s, and more on a busy machine. Without the renewal it would be the lease of 5 s.
        assert!(found_gone.elapsed() < Duration::from_secs(3), "{:?}", found_gone.elapsed());
    }
}

#[tokio::test]
async fn a_refreshed_view_has_the_instances_that_registered_before() {
    let site = Site::open().await;
    for n in 10..20 {
        let other = site.start_unknown(Role::State, &format!("presence-state-000000{n}"), Manner::Answers).await;
        assert!(site.gateway.bus.look_again().await);
        assert!(site.gateway.bus.view().is_alive(other.name()));
    }
}

#[tokio::test]
async fn two_prefixes_on_one_redis_do_not_see_each_other() {
    let site = Site::open().await;
    let staging = |role, name, manner| {
        let settings = redis::Config::from_url(&site.server.url()).unwrap().with_prefix("staging");
        Instance::start_at(settings, role, name, manner)
    };
    let state = staging(Role::State, STATE, Manner::Answers);
    let gateway = staging(Role::Gateway, LOST, Manner::Ignores);
    until("they see each other", async || gateway.bus.view().is_alive(state.name()).then_some(())).await;
    assert!(site.gateway.bus.look_again().await);
    assert!(!site.gateway.bus.view().is_alive(gateway.name()) && site.gateway.bus.check_states().is_err());
    assert!(!gateway.bus.view().is_alive(site.gateway.name()));
    let [ours, theirs] = [&site.gateway, &gateway].map(|one| one.bus.subjects().room_events(&"room".into()));
    site.gateway.bus.subscribe(&ours).await.unwrap();
    assert_eq!((site.subscribers(&ours).await, site.subscribers(&theirs).await), (1, 0));
}

#[tokio::test]
async fn a_directory_that_redis_loses_begins_a_truce_for_everyone() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    let buses = [&site.gateway.bus, &state.bus];
    let reason = |bus: &rollcall_bus::Bus| bus.truce().map(|truce| truce.why.as_str());
    until("the truces after the start are over", async || buses.iter().all(|bus| reason(bus).is_none()).then_some(()))
        .await;
    let mut changes = site.gateway.bus.changes();
    let () = site.redis.flushall(false).await.unwrap();
    let watched = async {
        loop {
            changes.changed().await.unwrap();
            assert!(reason(&site.gateway.bus).is_some(), "the truce comes before the view");
        }
    };
    let noticed = async {
        // Most often the gateway asks first, and is alone in the list.
        site.gateway.bus.look_again().await;
        until("both have noticed", async || buses.iter().all(|bus| reason(bus) == Some("history")).then_some(())).await;
    };
    tokio::select! {
        () = watched => {}
        () = noticed => {}
    }
    until("everyone is back", async || (site.gateway.bus.view().peers(Role::State).len() == 1).then_some(())).await;
}
