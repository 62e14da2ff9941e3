//! What an idle connection costs in memory: the growth of the process that holds the sockets, divided by their number.

use std::io;

use tokio::time::sleep;

use super::Bench;
use crate::load::rest::Resting;
use crate::load::{connect, join};
use crate::report::{Report, Row};
use crate::servers::Servers;

const CONNECTIONS: usize = 8000;

/// Before the measured ones, so that what a process allocates once is not counted for them.
const FIRST: usize = 50;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let bare = grow(bench, Servers::echo().await?, false).await?;
    let ours = grow(bench, bench.rollcall().await?, true).await?;
    let note = "idle memory: proportional set of the gateway, rooms of two; the echo's connections join nothing";
    Ok(Report {
        rows: vec![Row::new("an idle joined connection, of 8,000", ours, "KiB").yardstick(bare).at_most(19.0)],
        notes: vec![note.to_owned()],
        ..Report::default()
    })
}

/// Connects, joins if requested, lets the process settle, and returns the KiB per connection.
async fn grow(bench: &Bench, mut servers: Servers, joining: bool) -> io::Result<f64> {
    let mut resting = Resting::default();
    rest(&mut resting, &servers, FIRST, joining.then_some("first")).await?;
    let before = servers.memory_kib()?;
    rest(&mut resting, &servers, CONNECTIONS, joining.then_some("room")).await?;
    sleep(bench.rest()).await;
    let after = servers.memory_kib()?;
    servers.check()?;
    resting.check()?;
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}

/// Leaves `count` new connections at rest, joined to rooms of two if there is a name for those.
async fn rest(resting: &mut Resting, servers: &Servers, count: usize, rooms: Option<&'static str>) -> io::Result<()> {
    let clients = connect(servers.address, count).await?;
    match rooms {
        Some(prefix) => resting.add(join(clients, count / 2, prefix).await?.into_iter().map(|actor| actor.client)),
        None => resting.add(clients),
    }
    Ok(())
}
