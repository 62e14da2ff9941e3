//! A cluster of three primaries: each has its own history, and only the directory's primary begins a truce. A slot that moves or a
//! connection that breaks is a gap of its own rooms.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::{ClientLike as _, PubsubInterface as _},
    types::cluster::ClusterRouting,
};
use rollcall_bus::{Role, Subjects, Why, redis};
use rollcall_protocol::{Partition, RoomId};
use rollcall_testkit::until;

use crate::instance::{Instance, Manner};

/// Runs three servers in a folder of their own, and ends them when standard input closes, also when the test was killed.
const KEEPER: &str = r#"
folder=$(mktemp -d) && cd "$folder" || exit 1
for port; do
  mkdir "$port"
  (cd "$port" && exec redis-server --bind 127.0.0.1 --port "$port" --save "" --cluster-enabled yes \
    --cluster-node-timeout 60000 --cluster-require-full-coverage no >/dev/null) &
  pids="$pids $!"
  while ! redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.05; done
done
redis-cli --cluster create "127.0.0.1:$1" "127.0.0.1:$2" "127.0.0.1:$3" --cluster-yes >/dev/null
while ! redis-cli -p "$3" cluster info | grep -q state:ok; do sleep 0.05; done
echo $pids
exec >&-
read -r _
kill -9 $pids
cd / && rm -r "$folder"
"#;
const GATEWAY: &str = "presence-gateway-0000000a";

struct Cluster {
    keeper: Child,
    ports: [u16; 3],
    pids: Vec<String>,
}

impl Cluster {
    fn start() -> Self {
        // The cluster's own port is 10,000 higher.
        let free = || loop {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let port = 10_000 + port % 40_000;
            if [port, port + 10_000].iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()) {
                break port;
            }
        };
        let ports = [free(), free(), free()];
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .args(ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pids = String::new();
        keeper.stdout.take().unwrap().read_to_string(&mut pids).unwrap();
        Self { keeper, ports, pids: pids.split_whitespace().map(str::to_owned).collect() }
    }

    fn url(&self) -> String {
        let [first, second, third] = self.ports;
        format!("redis-cluster://127.0.0.1:{first}?node=127.0.0.1:{second}&node=127.0.0.1:{third}")
    }

    /// What a server answers.
    fn ask(&self, server: usize, words: &[&str]) -> String {
        let port = self.ports[server].to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Moves a slot without keys, as `redis-cli --cluster reshard` does.
    fn migrate(&self, slot: u16, from: usize, to: usize) {
        let [source, target] = [from, to].map(|server| self.ask(server, &["cluster", "myid"]));
        let set = |server, words: &[&str]| {
            let slot = slot.to_string();
            let answer = self.ask(server, &[&["cluster", "setslot", &slot], words].concat());
            assert_eq!(answer, "OK", "{words:?}");
        };
        set(to, &["importing", &source]);
        set(from, &["migrating", &target]);
        for server in [to, from, 3 - from - to] {
            set(server, &["node", &target]);
        }
    }

    /// How often a server was sent `SSUBSCRIBE`.
    fn subscriptions(&self, server: usize) -> u64 {
        let stats = self.ask(server, &["info", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_ssubscribe:calls="));
        calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    fn signal(&self, server: usize, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pids[server]]).status().unwrap().success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Which of the three has what begins like this: they share the slots evenly, in order.
fn server_of(key: &str) -> usize {
    usize::from(ClusterRouting::hash_key(key.as_bytes())) * 3 / 16_384
}

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

fn slot(key: &str) -> u16 {
    ClusterRouting::hash_key(key.as_bytes())
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
    let subscriptions = [0, 1, 2].map(|server| cluster.subscriptions(server));

    cluster.migrate(slot(moved), 0, 1);
    until("the gap is reported", async || (!channel_gaps(&gateway).is_empty()).then_some(())).await;
    publish_until_received(&gateway, &publisher, moved, "moved").await;
    for room in rooms.iter().flatten() {
        publish_until_received(&gateway, &publisher, room, "after").await;
    }
    assert_eq!(channel_gaps(&gateway), [moved.as_str()]);
    assert_eq!(gateway.received.gaps.load(Ordering::SeqCst), gaps, "no gap of every room");
    assert_eq!(cluster.subscriptions(0), subscriptions[0], "the old server is asked for nothing");
    assert!(cluster.subscriptions(1) > subscriptions[1], "the new one is asked for the channel");
    assert_eq!(cluster.subscriptions(2), subscriptions[2], "the third one has nothing to do with it");
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
