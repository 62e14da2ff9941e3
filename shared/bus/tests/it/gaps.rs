//! Subscriptions: they survive the loss of their connection, and the gap is reported.

use std::sync::atomic::Ordering;

use fred::{
    interfaces::{ClientInterface as _, PubsubInterface as _},
    types::client::{ClientKillFilter, ClientKillType},
};
use rollcall_bus::Role;
use rollcall_testkit::until;

use crate::{instance::Manner, site::Site};

const STATE: &str = "presence-state-00000001";

/// Publishes a text in a room until the gateway receives it.
async fn publish_until_received(site: &Site, channel: &str, text: &str) {
    until(text, async || {
        let () = site.redis.spublish(channel, text).await.unwrap();
        let events = site.gateway.received.events.lock().unwrap();
        events.iter().any(|(from, said)| from == channel && said == text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_subscription_is_restored_and_the_gap_is_reported() {
    let site = Site::open().await;
    let _state = site.start(Role::State, STATE, Manner::Answers).await;
    // More than one command's worth.
    let rooms: Vec<_> = (0..600).map(|n| site.subjects.room_events(&format!("room {n}").as_str().into())).collect();
    for room in &rooms {
        site.gateway.bus.subscribe(room).await.unwrap();
    }
    publish_until_received(&site, &rooms[0], "before").await;
    let gaps = site.gateway.received.gaps.load(Ordering::SeqCst);

    let killed: u64 = site.redis.client_kill(vec![ClientKillFilter::Type(ClientKillType::Pubsub)]).await.unwrap();
    assert!(killed >= 2, "the gateway's and the presence-state's: {killed}");
    until("the gap is reported", async || (site.gateway.received.gaps.load(Ordering::SeqCst) > gaps).then_some(()))
        .await;
    // The gap is reported when everything is subscribed to again: what is published from then on is received.
    for room in &rooms {
        let subscribers: u64 = site.redis.spublish(room, "after").await.unwrap();
        assert_eq!(subscribers, 1, "{room}");
    }
    until("a call is answered", async || site.call("room").await.ok()).await;
    let received = site.gateway.received.events.lock().unwrap().iter().filter(|(_, text)| text == "after").count();
    assert_eq!(received, rooms.len(), "they came before the answer, on the same connection");
}

#[tokio::test]
async fn a_room_is_received_only_while_it_is_subscribed_to() {
    let site = Site::open().await;
    let room = site.subjects.room_events(&"日本}".into());
    let silent: u64 = site.redis.spublish(&room, "early").await.unwrap();
    assert_eq!(silent, 0);
    site.gateway.bus.subscribe(&room).await.unwrap();
    publish_until_received(&site, &room, "received").await;
    site.gateway.bus.unsubscribe(&room).await;
    // Redis does not confirm this one.
    until("no one is subscribed", async || (site.subscribers(&room).await == 0).then_some(())).await;
    let silent: u64 = site.redis.spublish(&room, "late").await.unwrap();
    assert_eq!(silent, 0);
    site.gateway.bus.subscribe(&room).await.unwrap();
    publish_until_received(&site, &room, "again").await;
    let events = site.gateway.received.events.lock().unwrap();
    assert!(events.iter().all(|(_, text)| text != "early" && text != "late"));
}
