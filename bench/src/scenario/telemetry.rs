//! What tracing costs: the closed loop of plain heartbeats without it, as in production, and as in development.

use std::io;

use super::{Bench, WINDOW};
use crate::load::lane::Lane;
use crate::load::members;
use crate::report::{Report, Row};
use crate::servers::{Servers, Telemetry};

const CLIENTS: usize = 200;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let mut lanes = Vec::new();
    for telemetry in [Telemetry::Off, Telemetry::Production, Telemetry::Development] {
        let servers = Servers::rollcall(telemetry, bench.sink.address).await?;
        let clients = members(servers.address, CLIENTS, CLIENTS / 2).await?;
        lanes.push(Lane::new(servers, clients));
    }
    for _ in 0..bench.turns() {
        for lane in &mut lanes {
            lane.closed_loop(WINDOW).await?;
        }
    }

    let mut report = Report::default();
    lanes.iter_mut().for_each(|lane| report.faults.absorb(lane.faults()));
    let rates = lanes.iter().map(|lane| lane.measure.rate()).collect::<Vec<_>>();
    let row = |figure, rate, goal| Row::new(figure, rate, "/s").beside(rates[0]).at_least_times(goal);
    report.rows.push(row("plain heartbeats a second, traced as in production", rates[1], 0.95));
    report.rows.push(row("— traced as in development", rates[2], 0.8));
    report.notes.push("tracing: beside the same without telemetry".to_owned());
    Ok(report)
}
