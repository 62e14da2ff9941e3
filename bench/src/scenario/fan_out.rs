//! Events in a room of 100 where each tenth heartbeat patches, and the yardstick: 100 sockets where each tenth request is a bare
//! broadcast to all of them. At the end each member must have seen every event.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Bench, WINDOW, syncs};
use crate::actor::bare::Bare;
use crate::actor::member::Member;
use crate::actor::{Actor, Tally};
use crate::load::lane::Lane;
use crate::load::{echoers, members};
use crate::report::{Report, Row};
use crate::servers::Servers;

const MEMBERS: usize = 100;

/// Every n-th heartbeat that patches.
const EVERY: u64 = 10;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let (mut bare, mut ours) = (broadcasters().await?, patchers(bench).await?);
    let joined = ours.actors.iter().map(|actor| actor.role.sequence().seq()).max().unwrap_or_default();
    for _ in 0..bench.turns() {
        bare.closed_loop(WINDOW).await?;
        ours.closed_loop(WINDOW).await?;
    }
    let last = joined + ours.actors.iter().map(|actor| actor.role.patches()).sum::<u64>();
    ours.actors = catch_up(ours.actors, last).await?;

    let mut faults = ours.faults();
    faults.absorb(bare.faults());
    let syncs = syncs(&ours.actors);
    let (ours, bare) = (ours.measure, bare.measure);
    Ok(Report {
        rows: vec![
            Row::new("room of 100, every 10th heartbeat a patch: events", ours.event_rate(), "/s")
                .yardstick(bare.event_rate())
                .at_least(120_000.0),
            Row::new("— CPU an event delivered", ours.cpu_us_per_event(), "µs").yardstick(bare.cpu_us_per_event()),
            Row::new("— p99 of a heartbeat", ours.latency_ms(0.99), "ms").yardstick(bare.latency_ms(0.99)),
        ],
        notes: vec![format!(
            "room of 100: {:.0} heartbeats a second, {syncs} resynchronisations; µs of CPU a heartbeat: {}",
            ours.rate(),
            ours.cpu_by_process()
        )],
        faults,
    })
}

/// The yardstick's side.
async fn broadcasters() -> io::Result<Lane<Bare>> {
    let echo = Servers::echo().await?;
    let mut actors = echoers(echo.address, MEMBERS).await?;
    for (turn, actor) in (0..).zip(&mut actors) {
        actor.client.call("enter", "{}").await?;
        actor.role = Bare::broadcast(EVERY, turn);
    }
    Ok(Lane::new(echo, actors))
}

/// Our side.
async fn patchers(bench: &Bench) -> io::Result<Lane<Member>> {
    let rollcall = bench.rollcall().await?;
    let mut actors = members(rollcall.address, MEMBERS, 1).await?;
    (0..).zip(&mut actors).for_each(|(turn, actor)| actor.role.patch_every(EVERY, turn));
    Ok(Lane::new(rollcall, actors))
}

/// Lets every member receive events until it has seen the last one.
async fn catch_up(members: Vec<Actor<Member>>, last: u64) -> io::Result<Vec<Actor<Member>>> {
    let mut tasks = JoinSet::new();
    for mut actor in members {
        tasks.spawn(async move {
            let tally = Tally::default();
            let receive = async {
                while actor.role.sequence().seq() < last {
                    actor.absorb(&tally).await?;
                }
                io::Result::Ok(())
            };
            let received = timeout(Duration::from_secs(5), receive).await;
            let seq = actor.role.sequence().seq();
            if seq != last || !matches!(received, Ok(Ok(()))) {
                actor.faults.note(format!("a member of the room of 100 ends at seq {seq} in place of {last}"));
            }
            actor
        });
    }
    let mut members = Vec::new();
    while let Some(actor) = tasks.join_next().await {
        members.push(actor?);
    }
    Ok(members)
}
