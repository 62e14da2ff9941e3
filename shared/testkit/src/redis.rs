//! A Redis (or Valkey) server for one test: on a free port, in an empty folder, keeping nothing on disk.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
};

/// Starts the server and kills it by its id when standard input closes, even if the test was killed. Only the server keeps
/// standard output open, so its end is visible there.
const KEEPER: &str = r#"
folder=$(mktemp -d) && cd "$folder" || exit 1
server=$(command -v redis-server || command -v valkey-server) || exit 1
"$server" "$@" &
exec >&-
read -r _
kill -9 $!
wait $!
cd / && rm -r "$folder"
"#;
/// Another process may take the port between our check and the server's bind.
const ATTEMPTS: usize = 5;

/// A server that lives as long as this value.
pub struct Redis {
    keeper: Child,
    port: u16,
}

impl Redis {
    /// Starts one; it is ready when this returns.
    ///
    /// # Panics
    /// No server is on the PATH, or it does not start.
    pub fn start() -> Self {
        (0..ATTEMPTS).find_map(|_| Self::attempt()).expect("redis-server or valkey-server starts")
    }

    fn attempt() -> Option<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).ok()?.port();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            // `DEBUG CHANGE-REPL-ID` begins another history, as a restart does.
            .args(["--enable-debug-command", "local", "--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is there");
        // From here on the guard ends the server, whatever happens.
        let mut redis = Self { keeper, port };
        let log = BufReader::new(redis.keeper.stdout.take()?);
        log.lines().map_while(Result::ok).any(|line| line.contains("Ready to accept connections")).then_some(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
