//! The tasks of a bus: their end is noticed, and none outlives the bus.

use std::{sync::Arc, time::Duration};

use fred::interfaces::PubsubInterface as _;
use rollcall_bus::{Bus, Listener, Role, redis};
use rollcall_testkit::until;
use tokio::time::timeout;

use crate::site::Site;

const GATEWAY: &str = "presence-gateway-0000000b";

struct Panics;

impl Listener for Panics {
    fn on_event(&self, _: &str, text: &str) {
        assert_ne!(text, "panic", "on purpose");
    }
}

fn start(site: &Site) -> Arc<Bus> {
    let connections = redis::connect(redis::Config::from_url(&site.server.url()).unwrap()).unwrap();
    let bus = Bus::connect(connections, Role::Gateway, GATEWAY.into());
    bus.start(Arc::new(Panics));
    bus
}

#[tokio::test]
async fn a_task_that_panics_is_reported() {
    let site = Site::open().await;
    let bus = start(&site);
    until("it is ready", async || bus.check_inbox().ok()).await;
    let room = site.subjects.room_events(&"room".into());
    bus.subscribe(&room).await.unwrap();
    let () = site.redis.spublish(&room, "calm").await.unwrap();
    assert!(timeout(Duration::from_millis(300), bus.failed()).await.is_err());
    let () = site.redis.spublish(&room, "panic").await.unwrap();
    let failed = timeout(Duration::from_secs(5), bus.failed()).await.unwrap();
    assert_eq!(failed.to_string(), "the task `bus inbox` panicked");
}

#[tokio::test]
async fn the_tasks_of_a_bus_end_with_it() {
    let site = Site::open().await;
    let bus = start(&site);
    let knows = || site.gateway.bus.view().is_alive(&GATEWAY.into());
    until("it is known", async || knows().then_some(())).await;
    drop(bus);
    until("its lease has ended", async || (!knows()).then_some(())).await;
}
