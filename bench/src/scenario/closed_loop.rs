//! Plain heartbeats of 200 clients in rooms of two, each sending its next one when the last is answered, and the same number of
//! echoes from the yardstick.

use std::io;

use super::{Bench, WINDOW};
use crate::load::lane::Lane;
use crate::load::{echoers, members};
use crate::report::{Report, Row};
use crate::servers::Servers;

const CLIENTS: usize = 200;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let (echo, rollcall) = (Servers::echo().await?, bench.rollcall().await?);
    let clients = echoers(echo.address, CLIENTS).await?;
    let mut bare = Lane::new(echo, clients);
    let clients = members(rollcall.address, CLIENTS, CLIENTS / 2).await?;
    let mut ours = Lane::new(rollcall, clients);
    let exports = bench.sink.exports();
    for _ in 0..bench.turns() {
        bare.closed_loop(WINDOW).await?;
        ours.closed_loop(WINDOW).await?;
    }
    let exports = bench.sink.exports() - exports;

    let mut faults = ours.faults();
    faults.absorb(bare.faults());
    if exports == 0 {
        faults.note("tracing was to be measured with, but no trace was exported");
    }
    let (ours, bare) = (ours.measure, bare.measure);
    Ok(Report {
        rows: vec![
            Row::new("plain heartbeat, closed loop of 200: CPU", ours.cpu_us(), "µs")
                .yardstick(bare.cpu_us())
                .at_most_times(1.25),
            // 40,000 against the echo's 43,600 on the machine where the goals were set.
            Row::new("— heartbeats a second", ours.rate(), "/s").yardstick(bare.rate()).at_least_times(0.92),
            Row::new("— p50", ours.latency_ms(0.5), "ms").yardstick(bare.latency_ms(0.5)),
            Row::new("— p99", ours.latency_ms(0.99), "ms").yardstick(bare.latency_ms(0.99)),
        ],
        notes: vec![format!(
            "closed loop: rooms of two, {exports} batches of spans exported; µs of CPU a heartbeat: {}",
            ours.cpu_by_process()
        )],
        faults,
    })
}
