//! A reaper with a real Redis and a presence-state that records its commands: the reaper works when an instance leaves, and not
//! during a truce.

#![allow(clippy::unwrap_used, reason = "what a test does not expect may end it")]

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::{SetsInterface as _, SortedSetsInterface as _},
};
use rollcall_bus::{Bus, Listener, Reply, Role, Subjects, redis};
use rollcall_protocol::{
    Code, Fault, Partition,
    command::{Command, Outcome},
    envelope::{Envelope, Item},
};
use rollcall_service::{Context, Shutdown};
use rollcall_testkit::{Redis, until};
use tokio::{task::JoinHandle, time::sleep};

const ALIVE: &str = "presence-gateway-0000000a";
const LEAVING: &str = "presence-gateway-0000000b";
const DEAD: &str = "presence-gateway-0000000d";
/// The partition that presence-state cannot process, and the one that takes two steps.
const BROKEN: usize = 1;
const LARGE: usize = 2;
const DUE: usize = 3;
const QUIET: usize = 4;
/// The partition that always has more work.
const ENDLESS: usize = 5;
/// How long presence-state takes for each step.
const STEP: Duration = Duration::from_millis(20);

fn partition(index: usize) -> Partition {
    Partition::all().nth(index).unwrap()
}

/// Stands in for presence-state; records the partitions and gateways of each command.
struct States {
    bus: Arc<Bus>,
    asked: Mutex<Vec<(usize, Vec<String>)>>,
}

impl Listener for States {
    fn on_request(&self, envelope: &Envelope<'_>) {
        let reply = |item: &Item<'_>| Reply::new(item.ids.clone(), &self.answer(item.body.get())).unwrap();
        let answers: Vec<_> = envelope.items.iter().map(reply).collect();
        let (bus, reply_to) = (Arc::clone(&self.bus), envelope.reply_to.clone());
        tokio::spawn(async move {
            sleep(STEP).await;
            bus.reply(&reply_to, &answers).await;
        });
    }
}

impl States {
    fn answer(&self, body: &str) -> Outcome {
        let Command::Reap(reap) = serde_json::from_str(body).unwrap() else { panic!("{body}") };
        let asked = (reap.partition.index(), reap.gone.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut all = self.asked.lock().unwrap();
        let more = asked.0 == ENDLESS || (asked.0 == LARGE && !all.contains(&asked));
        all.push(asked);
        match reap.partition.index() {
            BROKEN => Outcome::Fault(Fault::new(Code::Internal, "a record cannot be read")),
            _ => Outcome::Reaped { evicted: 200, rooms: 2, more },
        }
    }

    fn was_asked(&self, index: usize, gone: &[&str]) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(partition, gateways)| *partition == index && gateways == gone).count()
    }
}

fn bus(server: &Redis, role: Role, name: &str) -> Arc<Bus> {
    let redis = redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap();
    Bus::connect(redis, role, name.into())
}

struct Nothing;
impl Listener for Nothing {}

async fn gateway(server: &Redis, name: &str) -> Arc<Bus> {
    let gateway = bus(server, Role::Gateway, name);
    gateway.start(Arc::new(Nothing));
    until("a gateway is ready", async || gateway.check_redis().and(gateway.check_inbox()).ok()).await;
    gateway
}

/// What presence-state has written: records of gateways, and a lock whose time is over.
async fn fill(redis: &Client, subjects: &Subjects) {
    for (index, gateways) in [
        (BROKEN, vec![DEAD]),
        (LARGE, vec![ALIVE, LEAVING, DEAD]),
        (DUE, vec![ALIVE]),
        (QUIET, vec![ALIVE]),
        (Partition::all().len() - 1, vec![DEAD]),
    ] {
        let base = subjects.partition(partition(index));
        let codes: Vec<_> =
            gateways.iter().map(|gateway| rollcall_keyspace::gateway_code(&(*gateway).into()).to_owned()).collect();
        let () = redis.sadd(rollcall_keyspace::gateways(&base), codes).await.unwrap();
        let () = redis.sadd(rollcall_keyspace::rooms(&base), "room").await.unwrap();
    }
    let due = rollcall_keyspace::due(&subjects.partition(partition(DUE)));
    let () = redis.zadd(due, None, None, false, false, (1.0, "room")).await.unwrap();
}

/// presence-state, and a client to write with.
fn presence_state(server: &Redis) -> (Arc<States>, Client) {
    let presence_state = bus(server, Role::State, "presence-state-00000001");
    let states = Arc::new(States { bus: Arc::clone(&presence_state), asked: Mutex::default() });
    presence_state.start(Arc::clone(&states) as Arc<dyn Listener>);
    (states, redis::connect(redis::Config::from_url(&server.url()).unwrap()).unwrap().commands)
}

/// A reaper, known to presence-state, and what ends it.
async fn start_reaper(
    server: &Redis,
    states: &States,
    interval: Duration,
) -> (Shutdown, JoinHandle<Result<(), String>>) {
    let config =
        rollcall_reaper::Config { redis: redis::Config::from_url(&server.url()).unwrap(), admin_port: 0, interval };
    let context = Context {
        service: "presence-reaper",
        version: "0",
        commit: "0",
        instance: "presence-reaper-00000001".to_owned(),
        host: Ipv4Addr::LOCALHOST.into(),
    };
    let end = Shutdown::default();
    let shutdown = end.clone();
    let running = tokio::spawn(async {
        rollcall_reaper::run(config, context, shutdown).await.map_err(|error| error.to_string())
    });
    until("it is there", async || states.bus.view().peers(Role::Reaper).first().cloned()).await;
    (end, running)
}

/// `bus`'s truce, and every one that began before it, is over.
async fn calm(bus: &Bus) {
    let half = Duration::from_secs(5);
    until("half the truce", async || bus.truce().is_none_or(|truce| truce.left < half).then_some(())).await;
    until("the truce ends", async || bus.truce().is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_or_due_is_reaped_when_a_gateway_goes_and_no_truce_is_on() {
    let server = Redis::start();
    let (states, client) = presence_state(&server);
    fill(&client, states.bus.subjects()).await;

    // It looks at nothing by itself but once, in the truce of its start.
    let (end, running) = start_reaper(&server, &states, Duration::from_secs(600)).await;

    // Their truce begins after the reaper's and ends after it.
    let (_alive, leaving) = (gateway(&server, ALIVE).await, gateway(&server, LEAVING).await);
    calm(&leaving).await;
    assert_eq!(states.asked.lock().unwrap().len(), 0, "evicted in a truce");

    leaving.deregister().await;
    let last = Partition::all().len() - 1;
    until("all is asked", async || {
        let asked = [(LARGE, &[LEAVING][..]), (LARGE, &[DEAD]), (DUE, &[]), (BROKEN, &[DEAD]), (last, &[DEAD])];
        asked.iter().all(|(index, gone)| states.was_asked(*index, gone) > 0).then_some(())
    })
    .await;
    until("the second step", async || (states.was_asked(LARGE, &[DEAD]) == 2).then_some(())).await;
    let asked = states.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(index, gone)| *index != QUIET && !gone.contains(&ALIVE.to_owned())), "{asked:?}");
    end.begin();
    assert_eq!(running.await.unwrap(), Ok(()));
}

/// It looks twenty times a second, and reads who holds a lease every 0.75 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_has_just_begun_is_not_taken_for_one_that_is_gone() {
    let server = Redis::start();
    let (states, client) = presence_state(&server);
    let _reaper = start_reaper(&server, &states, Duration::from_millis(50)).await;
    let first = gateway(&server, ALIVE).await;
    calm(&first).await;
    for n in 0..5 {
        let name = format!("presence-gateway-0000001{n}");
        let newcomer = gateway(&server, &name).await;
        let base = states.bus.subjects().partition(partition(QUIET));
        let () = client
            .sadd(rollcall_keyspace::gateways(&base), rollcall_keyspace::gateway_code(newcomer.instance()))
            .await
            .unwrap();
        until("the reaper knows it too", async || states.bus.view().is_alive(newcomer.instance()).then_some(())).await;
        sleep(Duration::from_millis(900)).await; // until the reaper has read the list
        assert_eq!(states.was_asked(QUIET, &[&name]), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_comes_back_is_reaped_no_further() {
    let server = Redis::start();
    let (states, client) = presence_state(&server);
    let base = states.bus.subjects().partition(partition(ENDLESS));
    let () =
        client.sadd(rollcall_keyspace::gateways(&base), rollcall_keyspace::gateway_code(&DEAD.into())).await.unwrap();
    let _reaper = start_reaper(&server, &states, Duration::from_millis(50)).await;
    let first = gateway(&server, ALIVE).await;
    calm(&first).await;
    until("its reap has begun", async || (states.was_asked(ENDLESS, &[DEAD]) > 2).then_some(())).await;
    let _back = gateway(&server, DEAD).await;
    let asked = || states.was_asked(ENDLESS, &[DEAD]);
    let mut before = asked();
    until("it is asked no more", async || {
        sleep(20 * STEP).await; // some twenty steps, of the five hundred of a cycle
        std::mem::replace(&mut before, asked()).eq(&asked()).then_some(())
    })
    .await;
    assert!(asked() < 200, "{} steps", asked());
}
