//! From `main` to the service's own `run` and back: settings, telemetry, runtime, signals; telemetry is flushed last.

use std::{
    error::Error,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
};

use telemetry::LogFormat;

use crate::{Reader, Shutdown, settings::Problems, vitals};

/// Who this process is, for the parts that say so.
#[derive(Debug, Clone)]
pub struct Context {
    /// `presence-gateway`, `presence-state` or `presence-reaper`.
    pub service: &'static str,
    /// The build's version.
    pub version: &'static str,
    /// `<service>-<8 hex digits>`, new at each start.
    pub instance: String,
    /// The address that HTTP is served on (`HOST`).
    pub host: IpAddr,
}

/// Runs a service from its start to its end: `load` reads its own settings, `run` is the service.
///
/// Settings that every service has are read here: `host`, `rust_log`, `log_format`, `deployment_environment`.
pub fn main<C, F>(
    service: &'static str,
    version: &'static str,
    defaults: &str,
    load: impl FnOnce(&mut Reader) -> Option<C>,
    run: impl FnOnce(C, Context, Shutdown) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), Box<dyn Error + Send + Sync>>>,
{
    let (config, context, telemetry) = match settings(service, version, defaults, load) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{service}: {problems}");
            return ExitCode::FAILURE;
        }
    };
    let guard = telemetry::init(&telemetry);
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
            runtime.block_on(async {
                vitals::show();
                run(config, context, Shutdown::on_signals()?).await
            })
        });
    let code = match result {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "cannot go on");
            eprintln!("{service}: {error}");
            ExitCode::FAILURE
        }
    };
    guard.shutdown();
    code
}

fn settings<C>(
    service: &'static str,
    version: &'static str,
    defaults: &str,
    load: impl FnOnce(&mut Reader) -> Option<C>,
) -> Result<(C, Context, telemetry::Settings), Problems> {
    let mut reader = Reader::open(defaults)?;
    let host = reader.parse("host", str::parse, "must be an IP address").unwrap_or(Ipv4Addr::LOCALHOST.into());
    let filter: String = reader.get("rust_log");
    if let Err(error) = telemetry::check_filter(&filter) {
        reader.problem("rust_log", format!("is no filter: {error}"));
    }
    let format = reader.parse("log_format", log_format, "must be text or json").unwrap_or(LogFormat::Text);
    let environment: String = reader.get("deployment_environment");
    let heartbeat_ratio = heartbeat_ratio(&mut reader, &environment);
    let config = load(&mut reader);
    let instance = instance(service);
    let telemetry = telemetry::Settings {
        service,
        version,
        instance: instance.clone(),
        environment,
        filter,
        format,
        heartbeat_ratio,
    };
    let config = reader.finish(config)?.ok_or_else(|| Problems(vec!["the settings are incomplete".to_owned()]))?;
    Ok((config, Context { service, version, instance, host }, telemetry))
}

/// Everything in development, one plain heartbeat in ten elsewhere, unless `heartbeat_sample_ratio` says otherwise.
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

#[expect(clippy::expect_used, reason = "start-up: without randomness nothing can start")]
fn instance(service: &str) -> String {
    format!("{service}-{:08x}", getrandom::u32().expect("the system gives random numbers"))
}
