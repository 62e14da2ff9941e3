//! The crowd: people who use a system that already runs, so that there is something to look at. They arrive, join a room, type, count,
//! wait for a lock, change rooms, leave, and are cut off. It measures nothing and never ends by itself.

mod act;
mod dice;
mod person;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::faults::Faults;

/// How often visits that failed are reported.
const REPORT_EVERY: Duration = Duration::from_secs(20);

/// Who comes, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// `HOST:PORT` of gateways or of an edge; people take them in turn. Names are resolved again for each visit.
    pub(crate) at: Vec<String>,
    /// How many people.
    pub(crate) people: usize,
}

/// Keeps everyone busy. What goes wrong is reported on stderr; each person tries again.
pub(crate) async fn run(plan: &Plan) -> io::Result<Infallible> {
    let faults = Arc::new(Mutex::new(Faults::default()));
    let mut people = JoinSet::new();
    for number in 0..plan.people {
        people.spawn(person::live(plan.clone(), number, faults.clone()));
    }
    eprintln!("crowd: {} people come and go at {}", plan.people, plan.at.join(", "));
    let mut report = interval(REPORT_EVERY);
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = report.tick() => {
                let faults = std::mem::take(&mut *faults.lock().unwrap_or_else(PoisonError::into_inner));
                if faults.count() > 0 {
                    eprintln!("crowd: {} visits failed: {}", faults.count(), faults.texts().join("; "));
                }
            }
            Some(ended) = people.join_next() => match ended? {},
        }
    }
}
