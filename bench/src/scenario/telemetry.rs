//! What telemetry costs: the closed loop of plain heartbeats without it, as in production, and as in development, all
//! three signals leaving for the real collector where there is one.

use std::io;
use std::time::Duration;

use super::{Bench, WINDOW};
use crate::load::lane::Lane;
use crate::load::members;
use crate::report::{Report, Row};
use crate::servers::collector::Collector;
use crate::servers::{Servers, Telemetry};

const CLIENTS: usize = 200;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let collector = Collector::start(bench.sink.address).await?;
    let address = collector.as_ref().map_or(bench.sink.address, |collector| collector.address);
    let mut lanes = Vec::new();
    for telemetry in [Telemetry::Off, Telemetry::Production, Telemetry::Development] {
        let servers = Servers::rollcall(telemetry, address).await?;
        let clients = members(servers.address, CLIENTS, CLIENTS / 2).await?;
        lanes.push((Lane::new(servers, clients), Duration::ZERO));
    }
    let cpu = || collector.as_ref().map_or(Ok(Duration::ZERO), Collector::cpu);
    for _ in 0..bench.turns() {
        for (lane, collected) in &mut lanes {
            let before = cpu()?;
            lane.closed_loop(WINDOW).await?;
            *collected += cpu()? - before;
        }
    }

    let mut report = Report::default();
    lanes.iter_mut().for_each(|(lane, _)| report.faults.absorb(lane.faults()));
    let off = &lanes[0].0.measure;
    for ((lane, collected), (what, rate, cost)) in
        lanes[1..].iter().zip([("production", 0.95, 1.05), ("development", 0.65, 1.5)])
    {
        let measure = &lane.measure;
        report.rows.push(
            Row::new(format!("plain heartbeats a second, telemetry as in {what}"), measure.rate(), "/s")
                .yardstick(off.rate())
                .at_least_times(rate),
        );
        report
            .rows
            .push(Row::new("— CPU a heartbeat", measure.cpu_us(), "µs").yardstick(off.cpu_us()).at_most_times(cost));
        report.notes.push(format!(
            "telemetry as in {what}: µs of CPU a heartbeat: {}; the collector on the same cores: {:.1}",
            measure.cpu_by_process(),
            collected.as_secs_f64() * 1e6 / measure.answers as f64
        ));
    }
    let to = if collector.is_some() {
        "the real collector, on the same cores"
    } else {
        "a sink: there is no otelcol-contrib"
    };
    report.notes.push(format!("telemetry: compared with the same without it; it goes to {to}"));
    Ok(report)
}
