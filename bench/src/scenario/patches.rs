//! The heaviest load: every heartbeat is a patch that changes the state, so that each one goes the full way and becomes an event
//! at both members of its room.

use std::io;

use super::{Bench, WINDOW, syncs};
use crate::load::lane::Lane;
use crate::load::members;
use crate::report::{Report, Row};

const CLIENTS: usize = 200;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let rollcall = bench.rollcall().await?;
    let mut clients = members(rollcall.address, CLIENTS, CLIENTS / 2).await?;
    clients.iter_mut().for_each(|actor| actor.role.patch_every(1, 0));
    let mut lane = Lane::new(rollcall, clients);
    for _ in 0..bench.turns() {
        lane.closed_loop(WINDOW).await?;
    }

    let (faults, syncs, measure) = (lane.faults(), syncs(&lane.actors), lane.measure);
    Ok(Report {
        rows: vec![
            Row::new("every heartbeat a patch, closed loop of 200: CPU", measure.cpu_us(), "µs").at_most(80.0),
            Row::new("— heartbeats a second", measure.rate(), "/s").at_least(15_000.0),
            Row::new("— p50", measure.latency_ms(0.5), "ms"),
            Row::new("— p99", measure.latency_ms(0.99), "ms"),
        ],
        notes: vec![format!(
            "patches: rooms of two, {:.0} events a second, {syncs} resynchronisations; µs of CPU a heartbeat: {}",
            measure.event_rate(),
            measure.cpu_by_process()
        )],
        faults,
    })
}
