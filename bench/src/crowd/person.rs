//! One person: visit after visit, each in a room of its own choice, each ending in one of three ways.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Plan;
use super::act::Visit;
use super::dice::Dice;
use crate::client::Client;
use crate::faults::Faults;

/// The first arrivals are spread over this time, so that an edge does not take the crowd for a flood.
const ARRIVAL_MS: u64 = 10_000;

/// How long a visit lasts.
const VISIT_MS: (u64, u64) = (20_000, 120_000);

/// From one visit to the next, even after one that failed.
const AWAY_MS: (u64, u64) = (1000, 15_000);

/// From one thing that a person does to the next. In heartbeat mode, several of them fit into a TTL.
const PAUSE_MS: (u64, u64) = (2000, 10_000);

/// A connection that is silent for as long is given up by its gateway: a ping and the time for its answer, with the defaults.
const CUT_OFF: Duration = Duration::from_secs(35);

/// To connect takes no longer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// People to one room, on average.
const ROOM: usize = 8;

const NAMES: [&str; 12] = ["ann", "ben", "cleo", "dan", "eve", "finn", "gus", "hana", "ivo", "jane", "kim", "lou"];
const ROOMS: [&str; 8] = ["lobby", "kitchen", "library", "garden", "studio", "workshop", "terrace", "attic"];

/// How a visit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The person leaves the room.
    Leave,
    /// The tab is closed.
    Close,
    /// The network is gone: the connection stays open and silent.
    CutOff,
}

/// Comes and goes until the crowd ends.
pub(crate) async fn live(plan: Plan, number: usize, faults: Arc<Mutex<Faults>>) -> Infallible {
    let mut dice = Dice::new(u64::from(std::process::id()) << 32 | number as u64);
    sleep(dice.ms(0, ARRIVAL_MS)).await;
    loop {
        if let Err(error) = visit(&plan, number, &mut dice).await {
            faults.lock().unwrap_or_else(PoisonError::into_inner).note(error.to_string());
        }
        sleep(dice.ms(AWAY_MS.0, AWAY_MS.1)).await;
    }
}

async fn visit(plan: &Plan, number: usize, dice: &mut Dice) -> io::Result<()> {
    let at = &plan.at[number % plan.at.len()];
    let client =
        timeout(CONNECT_WITHIN, connect(at)).await.map_err(|_| io::Error::other(format!("{at} does not answer")))??;
    let mut visit = Visit::join(client, &room(plan.people, dice), &name(number)).await?;
    let until = Instant::now() + dice.ms(VISIT_MS.0, VISIT_MS.1);
    while Instant::now() < until {
        visit.pause(dice.ms(PAUSE_MS.0, PAUSE_MS.1)).await?;
        match dice.below(10) {
            0 => visit.heartbeat().await?,
            1..6 => visit.type_for(dice.ms(1500, 4000)).await?,
            6..8 => visit.count().await?,
            _ => visit.take_turn(dice.ms(500, 2500)).await?,
        }
    }
    match end(dice) {
        End::Leave => visit.leave().await?,
        End::Close => {}
        // Nothing is read any more, so that pings stay without an answer.
        End::CutOff => sleep(CUT_OFF).await,
    }
    Ok(())
}

async fn connect(at: &str) -> io::Result<Client> {
    let mut found = tokio::net::lookup_host(at).await?;
    Client::connect(found.next().ok_or_else(|| io::Error::other(format!("{at} has no address")))?).await
}

fn end(dice: &mut Dice) -> End {
    match dice.below(5) {
        0..2 => End::Leave,
        2..4 => End::Close,
        _ => End::CutOff,
    }
}

/// The first rooms are the fullest: the lower one of two throws.
fn room(people: usize, dice: &mut Dice) -> String {
    let rooms = people.div_ceil(ROOM) as u64;
    let number = dice.below(rooms).min(dice.below(rooms));
    numbered(&ROOMS, usize::try_from(number).unwrap_or_default())
}

fn name(number: usize) -> String {
    numbered(&NAMES, number)
}

/// The names in turn, from the second round on with its number: `ann`, …, `ann-2`.
fn numbered(names: &[&str], number: usize) -> String {
    match number / names.len() {
        0 => names[number].to_owned(),
        round => format!("{}-{}", names[number % names.len()], round + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_name_of_their_own() {
        assert_eq!([name(0), name(11), name(12), name(25)], ["ann", "lou", "ann-2", "ben-3"]);
    }

    #[test]
    fn a_small_crowd_shares_a_room_and_a_large_one_fills_the_first_most() {
        let mut dice = Dice::new(1);
        assert!((0..20).all(|_| room(8, &mut dice) == "lobby"));
        let mut seen = std::collections::BTreeMap::<String, u32>::new();
        (0..2000).for_each(|_| *seen.entry(room(80, &mut dice)).or_default() += 1);
        assert_eq!(seen.len(), 10);
        assert!(seen["lobby"] > 2 * seen["lobby-2"], "{seen:?}");
    }

    #[test]
    fn visits_end_in_all_ways() {
        let mut dice = Dice::new(1);
        let ends = (0..50).map(|_| end(&mut dice)).collect::<Vec<_>>();
        assert!([End::Leave, End::Close, End::CutOff].iter().all(|end| ends.contains(end)));
    }
}
