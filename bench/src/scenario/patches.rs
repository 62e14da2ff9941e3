//! The heaviest load: every heartbeat is a patch that changes the state, so that each one goes the full way and becomes an event
//! at both members of its room. The bare echo's heartbeats are measured next to it, as a measure of the machine.

use std::io;

use super::{Bench, WINDOW, syncs};
use crate::actor::member::Member;
use crate::load::lane::Lane;
use crate::load::{echoers, members};
use crate::report::{Report, Row};
use crate::servers::Servers;

const CLIENTS: usize = 200;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let (echo, rollcall) = (Servers::echo().await?, bench.rollcall().await?);
    let clients = echoers(echo.address, CLIENTS).await?;
    let mut bare = Lane::new(echo, clients);
    let mut lane = patchers(rollcall).await?;
    for _ in 0..bench.turns() {
        bare.closed_loop(WINDOW).await?;
        lane.closed_loop(WINDOW).await?;
    }

    let mut faults = lane.faults();
    faults.absorb(bare.faults());
    let (syncs, measure, bare) = (syncs(&lane.actors), lane.measure, bare.measure);
    Ok(Report {
        rows: vec![
            // 80 µs where the echo took 14.3 µs.
            Row::new("every heartbeat a patch, closed loop of 200: CPU", measure.cpu_us(), "µs")
                .yardstick(bare.cpu_us())
                .at_most_times(5.6),
            Row::new("— heartbeats a second", measure.rate(), "/s").yardstick(bare.rate()).at_least(15_000.0),
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

/// The members that patch with every heartbeat; other changes of a room are compared with them.
pub(super) async fn patchers(rollcall: Servers) -> io::Result<Lane<Member>> {
    let mut clients = members(rollcall.address, CLIENTS, CLIENTS / 2).await?;
    clients.iter_mut().for_each(|actor| actor.role.patch_every(1, 0));
    Ok(Lane::new(rollcall, clients))
}
