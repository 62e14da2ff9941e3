//! Starts and stops the servers that are measured, each group on free ports of its own. Nothing that it started outlives it: a
//! dropped process is killed by its id. It must not know what is measured.

pub(crate) mod collector;
pub(crate) mod process;
pub(crate) mod redis;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::proc_stat;
use process::{Folder, Process};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Servers that are measured together.
pub(crate) struct Servers {
    processes: Vec<Process>,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    redis: Option<SocketAddr>,
    _folder: Folder,
}

/// How much telemetry the services export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telemetry {
    /// None at all.
    Off,
    /// As in production: a tenth of the heartbeats.
    Production,
    /// As in development: everything.
    Development,
}

impl Servers {
    /// The yardstick.
    pub(crate) async fn echo() -> io::Result<Self> {
        let folder = Folder::new()?;
        let mut echo = Process::start("echo-server", &program("echo-server")?, &[], &[], &folder)?;
        let address = echo.listening(READY_WITHIN).await?;
        Ok(Self { processes: vec![echo], address, redis: None, _folder: folder })
    }

    /// Redis, presence-state, the reaper and the gateway, ready to serve. Traces go to `sink`.
    pub(crate) async fn rollcall(telemetry: Telemetry, sink: SocketAddr) -> io::Result<Self> {
        Self::rollcall_with(telemetry, sink, &[]).await
    }

    /// The same with further settings, which win.
    pub(crate) async fn rollcall_with(
        telemetry: Telemetry,
        sink: SocketAddr,
        settings: &[(&'static str, String)],
    ) -> io::Result<Self> {
        let folder = Folder::new()?;
        let (redis, redis_address) = redis::start(&folder).await?;
        let mut processes = vec![redis];
        let mut address = redis_address;
        for name in ["presence-state", "presence-reaper", "presence-gateway"] {
            let mut variables = variables(telemetry, sink, redis_address);
            variables.extend_from_slice(settings);
            let mut service = Process::start(name, &program(name)?, &[], &variables, &folder)?;
            address = service.listening(READY_WITHIN).await?;
            service.until("is not ready", READY_WITHIN, || ready(address)).await?;
            processes.push(service);
        }
        Ok(Self { processes, address, redis: Some(redis_address), _folder: folder })
    }

    /// Where their Redis listens.
    pub(crate) fn redis(&self) -> io::Result<SocketAddr> {
        self.redis.ok_or_else(|| io::Error::other("these servers have no Redis"))
    }

    /// The CPU time of each process so far.
    pub(crate) fn cpu(&self) -> io::Result<Vec<(&'static str, Duration)>> {
        self.processes.iter().map(|process| Ok((process.name, proc_stat::cpu(process.id())?))).collect()
    }

    /// The memory in KiB of the process that clients connect to.
    pub(crate) fn memory_kib(&self) -> io::Result<u64> {
        let front = self.processes.last().map(Process::id);
        proc_stat::memory_kib(front.unwrap_or_default())
    }

    /// An error that names the process that has ended by itself, if one has.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }
}

fn variables(telemetry: Telemetry, sink: SocketAddr, redis: SocketAddr) -> Vec<(&'static str, String)> {
    let environment = if telemetry == Telemetry::Development { "development" } else { "production" };
    let mut variables = vec![
        ("REDIS_URL", format!("redis://{redis}")),
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", "0".to_owned()),
        ("ADMIN_PORT", "0".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
        // All clients come from one address.
        ("ADDRESS_HANDSHAKES_PER_S", "0".to_owned()),
        ("MAX_SESSIONS", "1000000".to_owned()),
        ("DEPLOYMENT_ENVIRONMENT", environment.to_owned()),
    ];
    // A scenario sends more through one socket than a person's client.
    for budget in ["SOCKET_EVENTS_PER_S", "SOCKET_BYTES_PER_S", "CHANNEL_WRITES_PER_S"] {
        variables.push((budget, "0".to_owned()));
    }
    variables.push(("OUTWARD_BYTES", (1_u64 << 40).to_string()));
    if telemetry != Telemetry::Off {
        variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{sink}")));
    }
    variables
}

async fn ready(address: SocketAddr) -> bool {
    says(address, "GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", "HTTP/1.1 200").await
}

/// Whether the server answers `question` with a text that starts with `answer`.
async fn says(address: SocketAddr, question: &str, answer: &str) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(question.as_bytes()).await?;
        let mut start = vec![0; answer.len()];
        stream.read_exact(&mut start).await?;
        io::Result::Ok(start == answer.as_bytes())
    };
    let said = matches!(timeout(Duration::from_secs(3), exchange).await, Ok(Ok(true)));
    if !said {
        sleep(Duration::from_millis(20)).await;
    }
    said
}

/// A program in the same folder as this one.
fn program(name: &str) -> io::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(io::Error::other(format!("{} is missing: build it with `cargo build --release`", program.display())))
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
