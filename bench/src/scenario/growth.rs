//! Growth is flat: the same 200 clients send the same plain heartbeats in a small world and, measured in turn, in a large one.

use std::io;

use super::{Bench, WINDOW};
use crate::actor::member::Member;
use crate::load::lane::Lane;
use crate::load::rest::Resting;
use crate::load::{connect, join};
use crate::report::{Report, Row};

/// Servers with the clients that beat, and those at rest.
type World = (Lane<Member>, Resting);

/// How many clients send heartbeats.
const BEATING: usize = 200;

/// More than this is growth; less is the machine's noise.
const FLAT: f64 = 1.1;

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let mut report = many_rooms(bench).await?;
    report.add(many_members(bench).await?);
    Ok(report)
}

/// 10 rooms and nothing else; then the same 10 rooms among 10,000, each of the others with a connection at rest.
async fn many_rooms(bench: &Bench) -> io::Result<Report> {
    const FEW: usize = 10;
    const MANY: usize = 10_000;
    let small = world(bench, FEW, 0, 0).await?;
    let large = world(bench, FEW, MANY - FEW, MANY - FEW).await?;
    let mut report = compare(bench, small, large, "plain heartbeat among 10,000 rooms: CPU").await?;
    report.notes.push(
        "among 10,000 rooms: 200 members beat in 10 of them, 9,990 rest in one each; compared with only the 10"
            .to_owned(),
    );
    Ok(report)
}

/// 500 members in rooms of two, and 500 in one room; 200 of them beat.
async fn many_members(bench: &Bench) -> io::Result<Report> {
    const MEMBERS: usize = 500;
    let small = world(bench, MEMBERS / 2, MEMBERS - BEATING, 0).await?;
    let large = world(bench, 1, MEMBERS - BEATING, 0).await?;
    let mut report = compare(bench, small, large, "plain heartbeat in a room of 500: CPU").await?;
    report
        .notes
        .push("in a room of 500: 200 members beat, 300 rest; compared with the same in rooms of two".to_owned());
    Ok(report)
}

/// Servers with beating members in `rooms` rooms and others at rest: in `own_rooms` of their own, or in the same if there are none.
async fn world(bench: &Bench, rooms: usize, others: usize, own_rooms: usize) -> io::Result<World> {
    let servers = bench.rollcall().await?;
    let mut clients = connect(servers.address, BEATING + others).await?;
    let mut resting = Resting::default();
    let beating = if own_rooms > 0 {
        let others = join(clients.split_off(BEATING), own_rooms, "other").await?;
        resting.add(others.into_iter().map(|actor| actor.client));
        join(clients, rooms, "room").await?
    } else {
        let mut all = join(clients, rooms, "room").await?;
        resting.add(all.split_off(BEATING).into_iter().map(|actor| actor.client));
        all
    };
    Ok((Lane::new(servers, beating), resting))
}

/// The CPU of a heartbeat in the large world, with that in the small one as its yardstick.
async fn compare(bench: &Bench, small: World, large: World, number: &str) -> io::Result<Report> {
    let ((mut small, mut small_rest), (mut large, mut large_rest)) = (small, large);
    for _ in 0..bench.turns() {
        small.closed_loop(WINDOW).await?;
        large.closed_loop(WINDOW).await?;
    }
    small_rest.check()?;
    large_rest.check()?;
    let mut faults = small.faults();
    faults.absorb(large.faults());
    let row = Row::new(number, large.measure.cpu_us(), "µs").yardstick(small.measure.cpu_us()).at_most_times(FLAT);
    Ok(Report { rows: vec![row], notes: Vec::new(), faults })
}
