//! A Redis Cluster of three primaries for one test.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
};

use fred::types::cluster::ClusterRouting;

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

/// See the module.
pub(crate) struct Cluster {
    keeper: Child,
    pub(crate) ports: [u16; 3],
    pids: Vec<String>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
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

    pub(crate) fn url(&self) -> String {
        let [first, second, third] = self.ports;
        format!("redis-cluster://127.0.0.1:{first}?node=127.0.0.1:{second}&node=127.0.0.1:{third}")
    }

    /// What a server answers.
    pub(crate) fn ask(&self, server: usize, words: &[&str]) -> String {
        let port = self.ports[server].to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Moves a slot without keys, as `redis-cli --cluster reshard` does.
    pub(crate) fn migrate(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        self.end_move(slot, from, to);
    }

    /// From now on the source answers `ASK` for keys of the slot that it does not have.
    pub(crate) fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let [source, target] = [from, to].map(|server| self.ask(server, &["cluster", "myid"]));
        self.set_slot(to, slot, &["importing", &source]);
        self.set_slot(from, slot, &["migrating", &target]);
    }

    /// Moves a key of a slot that is moving.
    pub(crate) fn move_key(&self, key: &str, from: usize, to: usize) {
        let answer = self.ask(from, &["migrate", "127.0.0.1", &self.ports[to].to_string(), key, "0", "5000"]);
        assert_eq!(answer, "OK", "{key}");
    }

    pub(crate) fn end_move(&self, slot: u16, from: usize, to: usize) {
        let target = self.ask(to, &["cluster", "myid"]);
        for server in [to, from, 3 - from - to] {
            self.set_slot(server, slot, &["node", &target]);
        }
    }

    fn set_slot(&self, server: usize, slot: u16, words: &[&str]) {
        let answer = self.ask(server, &[&["cluster", "setslot", &slot.to_string()], words].concat());
        assert_eq!(answer, "OK", "{words:?}");
    }

    /// How often a server was sent `SSUBSCRIBE`.
    pub(crate) fn subscriptions(&self, server: usize) -> u64 {
        let stats = self.ask(server, &["info", "commandstats"]);
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_ssubscribe:calls="));
        calls.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    pub(crate) fn signal(&self, server: usize, signal: &str) {
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
pub(crate) fn server_of(key: &str) -> usize {
    usize::from(ClusterRouting::hash_key(key.as_bytes())) * 3 / 16_384
}

/// The hash slot of a key.
pub(crate) fn slot(key: &str) -> u16 {
    ClusterRouting::hash_key(key.as_bytes())
}
