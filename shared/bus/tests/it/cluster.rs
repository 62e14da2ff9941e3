//! A cluster of three primaries: each has its own history, and only the directory's primary begins a truce.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bus::{Role, Subjects, Why};
use fred::types::cluster::ClusterRouting;
use protocol::Partition;
use testkit::until;

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
