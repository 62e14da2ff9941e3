//! `rollcall-bench`: puts load on Rollcall and on a bare socketioxide server, and prints the results side by side.
//!
//! `options` selects the scenarios; each `scenario` starts its `servers`, has `actor`s put `load` on them and adds its part to the
//! `report`. If `options` names a running system, `load::soak` puts load on it instead, or a `crowd` fills it with people. The exit
//! code is 1 if any answer was wrong, never because a goal was missed.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod actor;
mod client;
mod crowd;
mod faults;
mod load;
mod options;
mod otlp_sink;
mod proc_stat;
mod report;
mod scenario;
mod servers;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::Options;
use otlp_sink::Sink;
use report::Report;
use scenario::Bench;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// The scenario with the most connections holds this many sockets; a server holds at most 10,000 of them.
const OPEN_FILES: u64 = 16_500;

/// What a crowd needs besides one socket per person.
const OPEN_FILES_OF_A_CROWD: u64 = 50;

/// No scenario takes longer.
const SCENARIO_WITHIN: Duration = Duration::from_secs(120);

/// One thread, so that the load generator disturbs the measurement as little as possible.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        println!("{}", options::usage());
        return ExitCode::SUCCESS;
    }
    if let Some(plan) = &options.crowd {
        return entertain(plan).await;
    }
    let outcome = tokio::select! {
        outcome = measure(&options) => outcome,
        Ok(signal) = interrupted() => Err(io::Error::other(format!("stopped by {signal}"))),
    };
    match outcome {
        Ok(report) => {
            println!("\n{report}");
            ExitCode::from(u8::from(report.faults.count() > 0))
        }
        Err(error) => {
            eprintln!("rollcall-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps a crowd going until a signal ends it, which is how it is meant to end.
async fn entertain(plan: &crowd::Plan) -> ExitCode {
    let crowd = async {
        allow_open_files(plan.people as u64 + OPEN_FILES_OF_A_CROWD)?;
        crowd::run(plan).await
    };
    let outcome = tokio::select! {
        outcome = crowd => outcome,
        Ok(_) = interrupted() => return ExitCode::SUCCESS,
    };
    let Err(error) = outcome;
    eprintln!("rollcall-bench: {error}");
    ExitCode::FAILURE
}

/// Runs the scenarios one after the other. A scenario that fails is a fault and does not keep the others from running.
async fn measure(options: &Options) -> io::Result<Report> {
    allow_open_files(OPEN_FILES)?;
    if !options.soak.at.is_empty() {
        return scenario::soak::run(&options.soak).await;
    }
    let bench = Bench { quick: options.quick, sink: Sink::start().await? };
    let start = Instant::now();
    let mut report = Report::default();
    let cores = std::thread::available_parallelism()?;
    report.notes.push(format!("{cores} cores, load average at the start {}", proc_stat::load_average()?));
    for name in &options.scenarios {
        eprintln!("{:5.1} s  {name} …", start.elapsed().as_secs_f64());
        match timeout(SCENARIO_WITHIN, bench.run(name)).await {
            Ok(Ok(part)) => report.add(part),
            Ok(Err(error)) => report.faults.note(format!("{name}: {error}")),
            Err(_) => report.faults.note(format!("{name}: not over after {} s", SCENARIO_WITHIN.as_secs())),
        }
    }
    report.notes.push(format!("{:.0} s in all", start.elapsed().as_secs_f64()));
    Ok(report)
}

/// Raises the limit of open files to `needed`, if it is lower; the servers inherit it.
fn allow_open_files(needed: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        return Err(io::Error::other(format!(
            "{needed} open files are needed and only {hard} allowed: raise `ulimit -Hn`"
        )));
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?;
    Ok(())
}

/// Waits for a signal that asks to stop. The servers die when the scenario is dropped.
async fn interrupted() -> io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}
