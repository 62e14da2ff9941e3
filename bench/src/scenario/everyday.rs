//! The everyday load: 4,000 connections in rooms of two with one heartbeat a second each, spread evenly over the second, and the
//! same from the yardstick.

use std::io;

use super::Bench;
use crate::load::lane::Lane;
use crate::load::{echoers, members};
use crate::report::{Report, Row};
use crate::servers::Servers;

const CONNECTIONS: usize = 4000;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let (echo, rollcall) = (Servers::echo().await?, bench.rollcall().await?);
    let clients = echoers(echo.address, CONNECTIONS).await?;
    let mut bare = Lane::new(echo, clients);
    let clients = members(rollcall.address, CONNECTIONS, CONNECTIONS / 2).await?;
    let mut ours = Lane::new(rollcall, clients);
    for _ in 0..bench.everyday_turns() {
        bare.paced(bench.everyday_window()).await?;
        ours.paced(bench.everyday_window()).await?;
    }

    let mut faults = ours.faults();
    faults.absorb(bare.faults());
    let (ours, bare) = (ours.measure, bare.measure);
    Ok(Report {
        rows: vec![
            Row::new("4,000 × one heartbeat a second: CPU", ours.cpu_us(), "µs")
                .yardstick(bare.cpu_us())
                .at_most_times(1.1),
            Row::new("— p50", ours.latency_ms(0.5), "ms").yardstick(bare.latency_ms(0.5)).at_most(0.5),
            Row::new("— p99", ours.latency_ms(0.99), "ms").yardstick(bare.latency_ms(0.99)).at_most(20.0),
        ],
        notes: vec![format!(
            "everyday load: rooms of two, latency from the moment a heartbeat was due; µs of CPU a heartbeat: {}",
            ours.cpu_by_process()
        )],
        faults,
    })
}
