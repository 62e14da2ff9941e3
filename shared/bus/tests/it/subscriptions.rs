//! Once a channel is reported as subscribed, Redis has it, however long the way. After a broken connection a gap may be
//! reported early, but one is reported when everything is received again.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::{ClientInterface as _, PubsubInterface as _},
    types::client::{ClientKillFilter, ClientKillType},
};
use rollcall_bus::{Bus, Listener, Role, Subjects, redis};
use rollcall_testkit::until;

use crate::{site::Site, wire};

const ROOMS: usize = 1_500;
const LONG_WAY: Duration = Duration::from_millis(60);

fn channel(n: usize) -> String {
    Subjects::new("prs").room_events(&format!("room {n}").as_str().into())
}

/// How many of the rooms have a subscriber.
async fn subscribed_rooms(redis: &Client) -> usize {
    let channels: Vec<String> = redis.pubsub_shardchannels("prs:{p*}:events:*").await.unwrap();
    channels.len()
}

/// Looks, at each gap, how many rooms are received at that moment.
struct Looker {
    redis: Client,
    runtime: tokio::runtime::Handle,
    seen: mpsc::Sender<usize>,
}

impl Listener for Looker {
    fn on_gap(&self) {
        let (redis, seen) = (self.redis.clone(), self.seen.clone());
        self.runtime.spawn(async move { seen.send(subscribed_rooms(&redis).await) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_reported_when_everything_is_received_again() {
    let site = Site::open().await;
    let url = wire::long(&site.server.url(), LONG_WAY);
    let bus = Bus::connect(
        redis::connect(redis::Config::from_url(&url).unwrap()).unwrap(),
        Role::Gateway,
        "presence-gateway-0000000b".into(),
    );
    let (seen, gaps) = mpsc::channel();
    bus.start(Arc::new(Looker { redis: site.redis.clone(), runtime: tokio::runtime::Handle::current(), seen }));
    until("it is ready", async || bus.check_inbox().ok()).await;
    let all = (0..ROOMS).map(|n| {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move { bus.subscribe(&channel(n)).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(subscribed_rooms(&site.redis).await, ROOMS, "a subscription was confirmed too early");
    gaps.try_iter().count();

    let _: u64 = site.redis.client_kill(vec![ClientKillFilter::Type(ClientKillType::Pubsub)]).await.unwrap();
    until("a gap is reported when all is received", async || gaps.try_iter().find(|received| *received == ROOMS)).await;
}
