//! Starts and ends a service: reads settings, starts telemetry, the runtime and signal handling, calls the service's own
//! `run`, and flushes telemetry last.

use std::{
    error::Error,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
};

use rollcall_telemetry::LogFormat;

use crate::{Reader, Shutdown, Tasks, probe, process_metrics, settings::Problems};

/// The identity of this process, for `/version`, the bus and telemetry.
#[derive(Debug, Clone)]
pub struct Context {
    /// `presence-gateway`, `presence-state` or `presence-reaper`.
    pub service: &'static str,
    /// The build's version.
    pub version: &'static str,
    /// The build's commit.
    pub commit: &'static str,
    /// `<service>-<8 hex digits>`, new at each start.
    pub instance: String,
    /// The address that HTTP is served on (`HOST`).
    pub host: IpAddr,
}

/// What is fixed when a service is built.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// `presence-gateway`, `presence-state` or `presence-reaper`.
    pub service: &'static str,
    /// The build's version.
    pub version: &'static str,
    /// The build's commit, if the build set it.
    pub commit: Option<&'static str>,
    /// The embedded TOML with every setting.
    pub defaults: &'static str,
    /// The name of the setting with the port that serves `/readyz`.
    pub port: &'static str,
}

impl Program {
    fn commit(&self) -> &'static str {
        self.commit.filter(|commit| !commit.is_empty()).unwrap_or("unknown")
    }
}

/// Runs a service from start to end: `load` reads its own settings, `run` is the service. `--health` instead asks the
/// instance that is already running, and `--version` prints the version.
///
/// Settings that every service has are read here: `host`, `rust_log`, `log_format`, `deployment_environment`,
/// `heartbeat_sample_ratio`.
pub fn main<C, F>(
    program: Program,
    load: impl FnOnce(&mut Reader) -> Option<C>,
    run: impl FnOnce(C, Context, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    let Program { service, version, .. } = program;
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--health") => return health(program),
        Some("--version") => {
            println!("{service} {version} ({})", program.commit());
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!(
                "{service}: unknown argument; use --health, --version or none, and set environment variables to configure it"
            );
            return ExitCode::FAILURE;
        }
    }
    let (config, context, telemetry) = match settings(program, load) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{service}: {problems}");
            return ExitCode::FAILURE;
        }
    };
    let guard = rollcall_telemetry::init(&telemetry);
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
            runtime.block_on(async {
                let tasks = Tasks::default();
                process_metrics::register(&tasks);
                let shutdown = Shutdown::on_signals(&tasks)?;
                tokio::select! {
                    result = run(config, context, shutdown) => result,
                    failed = tasks.failed() => Err(failed.into()),
                }
            })
        });
    let code = match result {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "service failed");
            eprintln!("{service}: {error}");
            ExitCode::FAILURE
        }
    };
    guard.shutdown();
    code
}

/// Reads only the address: a problem with another setting is for the running service to report.
fn health(Program { service, defaults, port, .. }: Program) -> ExitCode {
    let address = Reader::open(defaults).and_then(|mut reader| {
        let address = (host(&mut reader), reader.within(port, 1..=65_535) as u16);
        reader.finish(address)
    });
    match address {
        Ok((host, port)) => probe::check(service, host, port),
        Err(problems) => {
            eprintln!("{service}: {problems}");
            ExitCode::FAILURE
        }
    }
}

fn host(reader: &mut Reader) -> IpAddr {
    reader.parse("host", str::parse, "must be an IP address").unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn settings<C>(
    program: Program,
    load: impl FnOnce(&mut Reader) -> Option<C>,
) -> Result<(C, Context, rollcall_telemetry::Settings), Problems> {
    let Program { service, version, defaults, .. } = program;
    let mut reader = Reader::open(defaults)?;
    let host = host(&mut reader);
    let filter: String = reader.get("rust_log");
    if let Err(error) = rollcall_telemetry::check_filter(&filter) {
        reader.problem("rust_log", format!("is not a valid log filter: {error}"));
    }
    for (variable, what) in rollcall_telemetry::check_exporter() {
        reader.problem(&variable, what);
    }
    let format = reader.parse("log_format", log_format, "must be text or json").unwrap_or(LogFormat::Text);
    let environment: String = reader.get("deployment_environment");
    let heartbeat_ratio = heartbeat_ratio(&mut reader, &environment);
    let config = load(&mut reader);
    let instance = instance(service);
    let telemetry = rollcall_telemetry::Settings {
        service,
        version,
        instance: instance.clone(),
        environment,
        filter,
        format,
        heartbeat_ratio,
    };
    let config = reader.finish(config)?.ok_or_else(|| Problems(vec!["the settings are incomplete".to_owned()]))?;
    Ok((config, Context { service, version, commit: program.commit(), instance, host }, telemetry))
}

/// `heartbeat_sample_ratio`. Its default, `auto`, traces every plain heartbeat in development and one in ten elsewhere.
fn heartbeat_ratio(reader: &mut Reader, environment: &str) -> f64 {
    let default = if environment == "development" { 1.0 } else { 0.1 };
    let read = |text: &str| match text {
        "auto" => Ok(default),
        number => number.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or(()),
    };
    reader.parse("heartbeat_sample_ratio", read, "must be auto or a number from 0 to 1").unwrap_or(default)
}

fn log_format(text: &str) -> Result<LogFormat, ()> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(()),
    }
}

#[expect(clippy::expect_used, reason = "start-up: a service without an id cannot run")]
fn instance(service: &str) -> String {
    format!("{service}-{:08x}", getrandom::u32().expect("the system provides random numbers"))
}
