//! A cluster of three primaries: each has its own history, and only the directory's primary begins a truce. A slot that moves or a
//! connection that breaks is a gap of its own rooms.

use std::{sync::atomic::Ordering, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike as _, PubsubInterface as _},
};
use rollcall_bus::{Role, Subjects, Why, redis};
use rollcall_protocol::{Partition, RoomId};
use rollcall_testkit::until;

use crate::{
    instance::{Instance, Manner},
    servers::{Cluster, server_of, slot},
};

const GATEWAY: &str = "presence-gateway-0000000a";

fn histories(gateway: &Instance) -> Vec<usize> {
    gateway.received.histories.lock().unwrap().clone()
}

#[tokio::test]
async fn a_silent_primary_changes_the_history_of_its_partitions_only() {
    let cluster = Cluster::start();
    let gateway = Instance::start(&cluster.url(), Role::Gateway, GATEWAY, Manner::Ignores);
    until("it is ready", async || gateway.is_ready().then_some(())).await;
    let begun = gateway.bus.truce().unwrap();
    assert_eq!(begun.why, Why::Start);
    until("a second", async || (gateway.bus.truce()?.left + Duration::from_secs(1) < begun.left).then_some(())).await;
    assert_eq!(histories(&gateway), [] as [usize; 0], "the own start changes none");

    let subjects = Subjects::new("prs");
    let directory = server_of("prs:{directory}:leases");
    let other = (directory + 1) % 3;
    let on = |server| Partition::all().filter(|partition| server_of(&subjects.partition(*partition)) == server).count();
    cluster.signal(other, "-STOP");
    // No signal says that it has been silent for long enough; the lease goes on meanwhile.
    let end = gateway.bus.redis_now_ms() + 2_500;
    until("it is silent", async || (gateway.bus.redis_now_ms() > end).then_some(())).await;
    assert!(gateway.bus.check_redis().is_ok(), "the directory's primary answers: {:?}", gateway.bus.check_redis());
    cluster.signal(other, "-CONT");
    until("history", async || histories(&gateway).first().copied()).await;
    assert!(histories(&gateway).iter().all(|partitions| *partitions == on(other)), "{:?}", histories(&gateway));
    assert_eq!(gateway.bus.truce().map_or(Why::Start, |truce| truce.why), Why::Start, "no truce of its own");

    gateway.received.histories.lock().unwrap().clear();
    cluster.signal(directory, "-STOP");
    until("silence", async || (gateway.bus.truce()?.why == Why::Silence).then_some(())).await;
    // The history is asked at times of its own, up to 0.75 s after the lease.
    let end = gateway.bus.redis_now_ms() + 1_000;
    until("it is silent for the history too", async || (gateway.bus.redis_now_ms() > end).then_some(())).await;
    cluster.signal(directory, "-CONT");
    until("history", async || histories(&gateway).contains(&on(directory)).then_some(())).await;
}

/// Rooms of a server whose slots are neither the inbox's nor the directory's, each in a slot of its own.
fn rooms_of(subjects: &Subjects, server: usize, count: usize) -> Vec<String> {
    let taken = [subjects.inbox(&GATEWAY.into()), "prs:{directory}:leases".to_owned()].map(|key| slot(&key));
    let mut slots = Vec::from(taken);
    let channels = (0..).map(|n| subjects.room_events(&RoomId::from(format!("room {n}").as_str())));
    let fits = |channel: &String| {
        let is_new = server_of(channel) == server && !slots.contains(&slot(channel));
        slots.push(slot(channel));
        is_new
    };
    channels.filter(fits).take(count).collect()
}

/// A gateway that listens to three rooms of each server, and a client to publish with.
async fn listening(cluster: &Cluster) -> (Instance, Client, Vec<Vec<String>>) {
    let gateway = Instance::start(&cluster.url(), Role::Gateway, GATEWAY, Manner::Ignores);
    until("it is ready", async || gateway.is_ready().then_some(())).await;
    let rooms: Vec<_> = (0..3).map(|server| rooms_of(&Subjects::new("prs"), server, 3)).collect();
    for room in rooms.iter().flatten() {
        gateway.bus.subscribe(room).await.unwrap();
    }
    let publisher = redis::connect(redis::Config::from_url(&cluster.url()).unwrap()).unwrap().commands;
    publisher.wait_for_connect().await.unwrap();
    // A new connection may still be reported.
    for room in rooms.iter().flatten() {
        publish_until_received(&gateway, &publisher, room, "before").await;
    }
    (gateway, publisher, rooms)
}

async fn publish_until_received(gateway: &Instance, publisher: &Client, room: &str, text: &str) {
    until(text, async || {
        // Refused while the client does not know where the slot is.
        let _: Result<u64, _> = publisher.spublish(room, text).await;
        let events = gateway.received.events.lock().unwrap();
        events.iter().any(|(channel, received)| channel == room && received == text).then_some(())
    })
    .await;
}

fn channel_gaps(gateway: &Instance) -> Vec<String> {
    let mut gaps = gateway.received.channel_gaps.lock().unwrap().clone();
    gaps.sort_unstable();
    gaps.dedup();
    gaps
}

#[tokio::test]
async fn a_slot_that_moved_is_a_gap_of_its_rooms_alone() {
    let cluster = Cluster::start();
    let (gateway, publisher, rooms) = listening(&cluster).await;
    let moved = &rooms[0][0];
    gateway.received.channel_gaps.lock().unwrap().clear();
    let gaps = gateway.received.gaps.load(Ordering::SeqCst);
    let subscriptions = [0, 1, 2].map(|server| cluster.calls(server, "ssubscribe"));

    cluster.migrate(slot(moved), 0, 1);
    until("the gap is reported", async || (!channel_gaps(&gateway).is_empty()).then_some(())).await;
    publish_until_received(&gateway, &publisher, moved, "moved").await;
    for room in rooms.iter().flatten() {
        publish_until_received(&gateway, &publisher, room, "after").await;
    }
    assert_eq!(channel_gaps(&gateway), [moved.as_str()]);
    assert_eq!(gateway.received.gaps.load(Ordering::SeqCst), gaps, "no gap of every room");
    assert_eq!(cluster.calls(0, "ssubscribe"), subscriptions[0], "the old server is asked for nothing");
    assert!(cluster.calls(1, "ssubscribe") > subscriptions[1], "the new one is asked for the channel");
    assert_eq!(cluster.calls(2, "ssubscribe"), subscriptions[2], "the third one has nothing to do with it");
}

#[tokio::test]
async fn a_lost_connection_is_a_gap_of_the_rooms_of_its_server_alone() {
    let cluster = Cluster::start();
    let (gateway, publisher, rooms) = listening(&cluster).await;
    // The own inbox has a server too.
    let inbox = server_of(&Subjects::new("prs").inbox(&GATEWAY.into()));
    let lost = (inbox + 1) % 3;
    gateway.received.channel_gaps.lock().unwrap().clear();
    let gaps = gateway.received.gaps.load(Ordering::SeqCst);

    let killed = cluster.ask(lost, &["client", "kill", "type", "pubsub"]);
    assert_eq!(killed, "1");
    let mut expected = rooms[lost].clone();
    expected.sort_unstable();
    until("the gaps are reported", async || (channel_gaps(&gateway) == expected).then_some(())).await;
    for room in rooms.iter().flatten() {
        publish_until_received(&gateway, &publisher, room, "after").await;
    }
    assert_eq!(channel_gaps(&gateway), expected);
    assert_eq!(gateway.received.gaps.load(Ordering::SeqCst), gaps, "no gap of every room");
}
