//! A Redis Cluster of three primaries for one test: each has a third of the slots, in order.

#![allow(clippy::unwrap_used, reason = "what a test does not expect may end it")]

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
};

/// Runs three servers in a folder of their own, and ends them when standard input closes, even when the test was killed.
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

/// A cluster that lives as long as this value.
pub struct Cluster {
    keeper: Child,
    /// The ports of its servers.
    pub ports: [u16; 3],
    pids: Vec<String>,
}

impl Cluster {
    /// Starts one; its slots are served when this returns.
    ///
    /// # Panics
    /// redis-server and redis-cli are not on the PATH, or they do not start.
    pub fn start() -> Self {
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

    /// Its URL.
    pub fn url(&self) -> String {
        let [first, second, third] = self.ports;
        format!("redis-cluster://127.0.0.1:{first}?node=127.0.0.1:{second}&node=127.0.0.1:{third}")
    }

    /// What a server answers.
    ///
    /// # Panics
    /// redis-cli does not run.
    pub fn ask(&self, server: usize, words: &[&str]) -> String {
        let port = self.ports[server].to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Moves a slot without keys, as `redis-cli --cluster reshard` does.
    pub fn migrate(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        self.end_move(slot, from, to);
    }

    /// From now on the source answers `ASK` for keys of the slot that it does not have.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let [source, target] = [from, to].map(|server| self.ask(server, &["cluster", "myid"]));
        self.set_slot(to, slot, &["importing", &source]);
        self.set_slot(from, slot, &["migrating", &target]);
    }

    /// Moves a key of a slot that is moving.
    ///
    /// # Panics
    /// It is not moved.
    pub fn move_key(&self, key: &str, from: usize, to: usize) {
        let answer = self.ask(from, &["migrate", "127.0.0.1", &self.ports[to].to_string(), key, "0", "5000"]);
        assert_eq!(answer, "OK", "{key}");
    }

    /// From now on the slot is the target's, on every server.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let target = self.ask(to, &["cluster", "myid"]);
        for server in [to, from, 3 - from - to] {
            self.set_slot(server, slot, &["node", &target]);
        }
    }

    fn set_slot(&self, server: usize, slot: u16, words: &[&str]) {
        let answer = self.ask(server, &[&["cluster", "setslot", &slot.to_string()], words].concat());
        assert_eq!(answer, "OK", "{words:?}");
    }

    /// How often a server carried out a command; its name in small letters.
    ///
    /// # Panics
    /// It does not say so.
    pub fn calls(&self, server: usize, command: &str) -> u64 {
        let stats = self.ask(server, &["info", "commandstats"]);
        let start = format!("cmdstat_{command}:calls=");
        let calls = stats.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok());
        calls.unwrap_or_default()
    }

    /// Sends a signal to a server, such as `-STOP`.
    ///
    /// # Panics
    /// There is no such process.
    pub fn signal(&self, server: usize, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pids[server]]).status().unwrap().success());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
