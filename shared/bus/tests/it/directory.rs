//! The directory: who comes, who says goodbye, who is lost.

use bus::{Role, subjects};
use fred::interfaces::SortedSetsInterface as _;
use testkit::until;

use crate::{instance::Manner, site::Site};

const STATE: &str = "presence-state-00000001";
const LOST: &str = "presence-gateway-0000000b";

async fn lease_end(site: &Site, role: Role, name: &str) -> Option<f64> {
    site.redis.zscore(subjects::directory(role), name).await.unwrap()
}

/// Enters somebody whose lease ends then.
async fn enter(site: &Site, role: Role, name: &str, lease_end_ms: u64) {
    let entry = (lease_end_ms as f64, name);
    let () = site.redis.zadd(subjects::directory(role), None, None, false, false, entry).await.unwrap();
}

#[tokio::test]
async fn a_goodbye_takes_the_entry_out_at_once_and_for_good() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    assert!(lease_end(&site, Role::State, STATE).await.is_some());
    state.bus.goodbye().await;
    assert_eq!(lease_end(&site, Role::State, STATE).await, None);
    until("the gateway knows", async || site.gateway.bus.check_states().err()).await;
    // It lives on for a while, to finish what is under way.
    let some_renewals_later = site.gateway.bus.redis_now_ms() + 1_500;
    until("time has passed", async || {
        assert_eq!(lease_end(&site, Role::State, STATE).await, None);
        (site.gateway.bus.redis_now_ms() > some_renewals_later).then_some(())
    })
    .await;
    assert!(state.is_ready() && !state.bus.view().peers(Role::Gateway).is_empty(), "and still sees the others");
}

#[tokio::test]
async fn a_gateway_whose_lease_ended_is_lost_until_it_is_forgotten() {
    let site = Site::open().await;
    let lease_end_ms = site.gateway.bus.redis_now_ms() - 1;
    enter(&site, Role::Gateway, LOST, lease_end_ms).await;
    let lost = until("it is lost", async || site.gateway.bus.view().lost_gateways().first().cloned()).await;
    assert_eq!((lost.instance.as_str(), lost.lease_end_ms), (LOST, lease_end_ms));
    assert!(!site.gateway.bus.view().peers(Role::Gateway).contains(&lost.instance));
    assert!(site.gateway.bus.forget(&lost).await);
    assert_eq!(lease_end(&site, Role::Gateway, LOST).await, None);
}

#[tokio::test]
async fn a_gateway_that_is_back_is_not_forgotten() {
    let site = Site::open().await;
    let lease_end_ms = site.gateway.bus.redis_now_ms() - 1;
    enter(&site, Role::Gateway, LOST, lease_end_ms).await;
    let lost = until("it is lost", async || site.gateway.bus.view().lost_gateways().first().cloned()).await;
    enter(&site, Role::Gateway, LOST, lease_end_ms + 60_000).await;
    assert!(!site.gateway.bus.forget(&lost).await);
    until("it is alive", async || site.gateway.bus.view().peers(Role::Gateway).contains(&lost.instance).then_some(()))
        .await;
    assert!(site.gateway.bus.view().lost_gateways().is_empty());
}

#[tokio::test]
async fn other_services_whose_lease_ended_are_forgotten() {
    let site = Site::open().await;
    for role in [Role::State, Role::Reaper] {
        enter(&site, role, "gone", site.gateway.bus.redis_now_ms() - 1).await;
        until("it is forgotten", async || lease_end(&site, role, "gone").await.is_none().then_some(())).await;
        assert!(site.gateway.bus.view().peers(role).is_empty());
    }
}
