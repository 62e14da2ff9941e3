//! The closed loop: each client sends its next request when the last is answered.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Window;
use super::measure::{Measure, used};
use crate::actor::{Actor, Role, Tally};
use crate::servers::Servers;

/// How long to wait for the last answers.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

// Zero means warming up.
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// State shared by the clients of a load.
#[derive(Default)]
struct Stage {
    phase: AtomicU8,
    tally: Tally,
}

/// Runs all actors in a closed loop for one window. Faults are left with the actors.
pub(crate) async fn run<R: Role>(
    servers: &mut Servers,
    actors: &mut Vec<Actor<R>>,
    window: Window,
) -> io::Result<Measure> {
    let stage = Arc::new(Stage::default());
    let mut tasks = JoinSet::new();
    for actor in actors.drain(..) {
        tasks.spawn(crank(actor, stage.clone()));
    }
    sleep(window.warm).await;
    let (cpu, start) = (servers.cpu()?, Instant::now());
    let (answers, events) = stage.tally.read();
    stage.phase.store(MEASURING, Ordering::Relaxed);
    sleep(window.measured).await;
    stage.phase.store(OVER, Ordering::Relaxed);
    let (answers_then, events_then) = stage.tally.read();
    let mut measure = Measure {
        elapsed: start.elapsed(),
        answers: answers_then - answers,
        events: events_then - events,
        cpu: used(&cpu, &servers.cpu()?),
        latencies_us: Vec::new(),
    };
    servers.check()?;
    let collect = async {
        while let Some(task) = tasks.join_next().await {
            let (actor, latencies) = task?;
            actors.push(actor);
            measure.latencies_us.extend(latencies);
        }
        io::Result::Ok(())
    };
    let collected = timeout(LAST_ANSWERS_WITHIN, collect).await;
    collected.map_err(|_| io::Error::other(format!("clients that wait for an answer in vain: {}", tasks.len())))??;
    Ok(measure)
}

/// One client: request after request until the end, or until its connection is lost.
async fn crank<R: Role>(mut actor: Actor<R>, stage: Arc<Stage>) -> (Actor<R>, Vec<u32>) {
    let mut latencies = Vec::new();
    loop {
        let phase = stage.phase.load(Ordering::Relaxed);
        if phase == OVER && actor.role.may_stop() {
            break;
        }
        let sent = Instant::now();
        let answered = actor.beat(&stage.tally).await;
        if actor.faults.check(answered).is_none() {
            break;
        }
        if phase == MEASURING {
            latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    (actor, latencies)
}
