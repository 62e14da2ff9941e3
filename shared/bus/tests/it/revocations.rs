//! Revocations reach every process, survive a Redis that lost them, and end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fred::interfaces::{ClientLike as _, HashesInterface as _, SortedSetsInterface as _};
use rollcall_bus::{
    Role,
    revocations::{Revocation, Revocations, Subject},
};
use rollcall_testkit::until;

use crate::{instance::Manner, site::Site};

const DAY: Duration = Duration::from_secs(86_400);
const KEYS: [&str; 2] = ["prs:{directory}:revoked", "prs:{directory}:revocations"];

fn user(name: &str) -> Revocation {
    Revocation { subject: Subject::User(name.to_owned()), issued_before: None }
}

fn now_s(site: &Site) -> u64 {
    site.gateway.bus.redis_now_ms() / 1000
}

async fn known(revocations: &Revocations, name: &str, issued_at: u64) {
    until("it is known", async || revocations.cover(name, None, Some(issued_at)).then_some(())).await;
}

#[tokio::test]
async fn a_revocation_is_known_to_every_gateway_and_to_one_that_starts_later() {
    let site = Site::open().await;
    let told = Arc::new(AtomicUsize::new(0));
    let other = site.start(Role::Gateway, "presence-gateway-0000000b", Manner::Ignores).await;
    let here = site.gateway.bus.follow_revocations(DAY, |_| {});
    let there = other.bus.follow_revocations(DAY, {
        let told = Arc::clone(&told);
        move |_| {
            told.fetch_add(1, Ordering::SeqCst);
        }
    });
    until("the list was read", async || (here.are_known() && there.are_known()).then_some(())).await;
    let now = now_s(&site);
    assert!(!there.cover("ann", Some("t1"), Some(now)) && told.load(Ordering::SeqCst) == 0);

    let token = Revocation { subject: Subject::Token("t1".to_owned()), issued_before: Some(u64::MAX >> 12) };
    let before = Revocation { issued_before: Some(now - 60), ..user("ben") };
    here.add(&[user("ann"), token, before]).await.unwrap();
    known(&there, "ann", now).await;
    assert!(told.load(Ordering::SeqCst) >= 1);
    assert!(!there.cover("ann", None, Some(now + 60)), "a token that is issued later");
    assert!(there.cover("ann", None, None), "one that does not say when it was issued");
    assert!(there.cover("zoe", Some("t1"), Some(now)) && !there.cover("zoe", Some("t2"), Some(now)));
    assert!(there.cover("ben", None, Some(now - 61)) && !there.cover("ben", None, Some(now - 60)));
    // A moment that is named later and is earlier changes nothing.
    here.add(&[Revocation { issued_before: Some(5), ..user("ann") }]).await.unwrap();
    let late = other.bus.follow_revocations(DAY, |_| {});
    known(&late, "ann", now).await;
}

#[tokio::test]
async fn what_redis_lost_is_written_again_by_those_who_know_it() {
    let site = Site::open().await;
    let here = site.gateway.bus.follow_revocations(DAY, |_| {});
    let all: Vec<_> = (0..1_500).map(|n| user(&format!("user {n}"))).collect();
    let now = now_s(&site);
    here.add(&all).await.unwrap();
    known(&here, "user 1499", now).await;
    let () = site.redis.flushall(false).await.unwrap();
    until("all are back", async || {
        let (moments, order): (usize, usize) =
            (site.redis.hlen(KEYS[0]).await.unwrap(), site.redis.zcard(KEYS[1]).await.unwrap());
        (moments == 1_500 && order == 1_500).then_some(())
    })
    .await;
    assert!(here.cover("user 7", None, Some(now)));
}

#[tokio::test]
async fn a_revocation_ends_with_the_longest_life_of_a_token() {
    let site = Site::open().await;
    let short = Duration::from_secs(1);
    let here = site.gateway.bus.follow_revocations(short, |_| {});
    let now = now_s(&site);
    here.add(&[user("ann")]).await.unwrap();
    known(&here, "ann", now).await;
    until("it ended here", async || (!here.cover("ann", None, Some(now))).then_some(())).await;
    here.add(&[user("ben")]).await.unwrap();
    let order: Vec<String> = site.redis.zrange(KEYS[1], 0, -1, None, false, None, false).await.unwrap();
    assert_eq!(order, ["sub:ben"], "and in Redis");
}
