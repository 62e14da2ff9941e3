//! Subscriptions: they survive the loss of their connection, and whoever listens is told that something may be missing.

use std::sync::atomic::Ordering;

use bus::Role;
use fred::{
    interfaces::{ClientInterface as _, PubsubInterface as _},
    types::client::{ClientKillFilter, ClientKillType},
};
use testkit::until;

use crate::{instance::Manner, site::Site};

const STATE: &str = "presence-state-00000001";

/// Says something in a room until the gateway hears it.
async fn say_until_heard(site: &Site, channel: &str, text: &str) {
    until(text, async || {
        let () = site.redis.spublish(channel, text).await.unwrap();
        let events = site.gateway.heard.events.lock().unwrap();
        events.iter().any(|(from, said)| from == channel && said == text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_subscription_is_made_again_and_the_gap_is_told() {
    let site = Site::open().await;
    let _state = site.start(Role::State, STATE, Manner::Answers).await;
    // More than one command's worth.
    let rooms: Vec<_> = (0..600).map(|n| site.subjects.room_events(&format!("room {n}").as_str().into())).collect();
    for room in &rooms {
        site.gateway.bus.subscribe(room).await.unwrap();
    }
    say_until_heard(&site, &rooms[0], "before").await;
    let gaps = site.gateway.heard.gaps.load(Ordering::SeqCst);

    let killed: u64 = site.redis.client_kill(vec![ClientKillFilter::Type(ClientKillType::Pubsub)]).await.unwrap();
    assert!(killed >= 2, "the gateway's and the presence-state's: {killed}");
    until("the gap is told", async || (site.gateway.heard.gaps.load(Ordering::SeqCst) > gaps).then_some(())).await;
    // The gap is told when everything is subscribed to again: what is said from then on is heard the first time.
    for room in &rooms {
        let ears: u64 = site.redis.spublish(room, "after").await.unwrap();
        assert_eq!(ears, 1, "{room}");
    }
    until("a call is answered", async || site.call("room").await.ok()).await;
    let heard = site.gateway.heard.events.lock().unwrap().iter().filter(|(_, text)| text == "after").count();
    assert_eq!(heard, rooms.len(), "they came before the answer, on the same connection");
}

#[tokio::test]
async fn a_room_is_heard_only_while_it_is_subscribed_to() {
    let site = Site::open().await;
    let room = site.subjects.room_events(&"日本}".into());
    let silent: u64 = site.redis.spublish(&room, "early").await.unwrap();
    assert_eq!(silent, 0);
    site.gateway.bus.subscribe(&room).await.unwrap();
    say_until_heard(&site, &room, "heard").await;
    site.gateway.bus.unsubscribe(&room).await;
    // Redis does not confirm this one.
    until("nobody hears it", async || (site.ears(&room).await == 0).then_some(())).await;
    let silent: u64 = site.redis.spublish(&room, "late").await.unwrap();
    assert_eq!(silent, 0);
    site.gateway.bus.subscribe(&room).await.unwrap();
    say_until_heard(&site, &room, "again").await;
    let events = site.gateway.heard.events.lock().unwrap();
    assert!(events.iter().all(|(_, text)| text != "early" && text != "late"));
}
