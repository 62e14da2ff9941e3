//! Redis, and what it reports of itself. It must not know what the keys mean.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{Folder, Process};
use super::{READY_WITHIN, find_on_path, says};

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Starts a Redis that saves nothing, on a free port.
pub(super) async fn start(folder: &Folder) -> io::Result<(Process, SocketAddr)> {
    let program = ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| find_on_path(name))
        .ok_or_else(|| io::Error::other("neither redis-server nor valkey-server is on the PATH"))?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let port = address.port().to_string();
    let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"];
    let mut redis = Process::start("redis", &program, &arguments, &[], folder)?;
    redis.until("does not answer", READY_WITHIN, || says(address, "PING\r\n", "+PONG")).await?;
    Ok((redis, address))
}

/// The CPU time of the thread that runs the commands. Another process can only read it in ticks of 10 ms; Redis knows it in
/// microseconds.
pub(crate) async fn thread_cpu(address: SocketAddr) -> io::Result<Duration> {
    let info = ask(address, "INFO cpu").await?;
    let fields = ["used_cpu_user_main_thread", "used_cpu_sys_main_thread"].map(|name| numbers::<f64>(&info, name));
    match fields.each_ref().map(Vec::as_slice) {
        [[user], [system]] => Ok(Duration::from_secs_f64(user + system)),
        _ => Err(unexpected(&info)),
    }
}

/// Deletes all keys and returns how many bytes that gave back. Clients, subscriptions and cached scripts are not in it.
pub(crate) async fn delete_all(address: SocketAddr) -> io::Result<u64> {
    let info = ask(address, "MULTI\r\nINFO memory\r\nFLUSHALL SYNC\r\nINFO memory\r\nEXEC").await?;
    match numbers::<u64>(&info, "used_memory")[..] {
        [before, after] if before >= after => Ok(before - after),
        _ => Err(unexpected(&info)),
    }
}

/// Everything that Redis answers to these commands, on a connection of their own.
async fn ask(address: SocketAddr, commands: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes()).await?;
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await?;
        io::Result::Ok(answers)
    };
    timeout(ANSWERS_WITHIN, exchange).await.map_err(|_| io::Error::other("Redis did not answer in time"))?
}

/// The values of the lines `name:value`.
fn numbers<T: std::str::FromStr>(info: &str, name: &str) -> Vec<T> {
    let values = info.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.filter_map(|value| value.parse().ok()).collect()
}

fn unexpected(answers: &str) -> io::Error {
    io::Error::other(format!("Redis answered {}", answers.chars().take(300).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let info = "$9\r\n# Memory\r\nused_memory:1024\r\nused_memory_human:1K\r\n+OK\r\nused_memory:24\r\n";
        assert_eq!(numbers::<u64>(info, "used_memory"), [1024, 24]);
        assert_eq!(numbers::<u64>(info, "used"), [0; 0]);
    }
}
