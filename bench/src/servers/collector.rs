//! The real collector with Rollcall's own `otel-collector.yaml`, its stores replaced by the sink. It is not among what is
//! measured: its CPU is reported separately.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::process::{Folder, Process};
use super::{READY_WITHIN, find_on_path, says};
use crate::proc_stat;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../otel-collector.yaml");

/// A running collector.
pub(crate) struct Collector {
    process: Process,
    /// Where it takes OTLP over HTTP.
    pub(crate) address: SocketAddr,
    _folder: Folder,
}

impl Collector {
    /// Starts the `otelcol-contrib` of the tools or of the PATH; `None` where there is none.
    pub(crate) async fn start(sink: SocketAddr) -> io::Result<Option<Self>> {
        const NAME: &str = "otelcol-contrib";
        let tools = std::env::var_os("ROLLCALL_TOOLS_DIR").map(|folder| Path::new(&folder).join(NAME));
        let Some(program) = tools.filter(|path| path.is_file()).or_else(|| find_on_path(NAME)) else { return Ok(None) };
        let folder = Folder::new()?;
        let [http, grpc, health] = [free_port()?, free_port()?, free_port()?];
        let variables = [
            ("COLLECTOR_HOST", "127.0.0.1".to_owned()),
            ("COLLECTOR_HTTP_PORT", http.to_string()),
            ("COLLECTOR_GRPC_PORT", grpc.to_string()),
            ("COLLECTOR_HEALTH_PORT", health.to_string()),
            ("PROMETHEUS_URL", format!("http://{sink}")),
            ("LOKI_URL", format!("http://{sink}")),
        ];
        // What would go to Jaeger by gRPC goes to the sink by HTTP.
        let jaeger = format!(
            "yaml:{{exporters: {{otlp_http/sink: {{endpoint: 'http://{sink}'}}}}, \
             service: {{pipelines: {{traces: {{exporters: [otlp_http/sink]}}}}}}}}"
        );
        let arguments = ["--config", CONFIG, "--config", &jaeger];
        let mut process = Process::start("collector", &program, &arguments, &variables, &folder)?;
        let page = SocketAddr::from(([127, 0, 0, 1], health));
        let is_well = || says(page, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", "HTTP/1.1 200");
        process.until("is not well", READY_WITHIN, is_well).await?;
        Ok(Some(Self { process, address: SocketAddr::from(([127, 0, 0, 1], http)), _folder: folder }))
    }

    /// The CPU time so far.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        proc_stat::cpu(self.process.id())
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
