//! The paced load: each client sends one request a second, all of them spread evenly over the second, whether or not earlier
//! ones are answered. A latency counts from the time the request was due, so that a late load generator does not improve it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep_until, timeout_at};

use super::Window;
use super::measure::{Measure, used};
use crate::actor::{Actor, Role, Tally};
use crate::client::Sender;
use crate::servers::Servers;

/// Each client's time between two requests.
const PERIOD: Duration = Duration::from_secs(1);

/// How long to wait for the last answers.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// When which request is due.
#[derive(Clone, Copy)]
struct Schedule {
    start: Instant,
    step: Duration,
    warm: u64,
    rounds: u64,
}

/// Sends one constant request a second for each actor over one window of whole seconds. Faults are left with the actors.
pub(crate) async fn run<R: Role>(
    servers: &mut Servers,
    actors: &mut Vec<Actor<R>>,
    window: Window,
) -> io::Result<Measure> {
    let schedule = Schedule {
        start: Instant::now() + Duration::from_millis(100),
        step: PERIOD / u32::try_from(actors.len()).map_err(io::Error::other)?,
        warm: window.warm.as_secs(),
        rounds: window.warm.as_secs() + window.measured.as_secs(),
    };
    let tally = Arc::new(Tally::default());
    let mut senders = Vec::new();
    let mut tasks = JoinSet::new();
    for (number, mut actor) in actors.drain(..).enumerate() {
        let (event, payload) = actor.role.request();
        let payload = payload.to_owned();
        let sender = actor.client.reserve(schedule.rounds);
        tasks.spawn(receive(actor, sender.next_id(), number, schedule, tally.clone()));
        senders.push((sender, event, payload));
    }
    let pacer = spawn_blocking(move || pace(senders, schedule));

    sleep_until(schedule.due(schedule.warm, 0).into()).await;
    let (cpu, start, (answers, events)) = (servers.cpu()?, Instant::now(), tally.read());
    sleep_until(schedule.due(schedule.rounds, 0).into()).await;
    let (answers_then, events_then) = tally.read();
    let mut measure = Measure {
        elapsed: start.elapsed(),
        answers: answers_then - answers,
        events: events_then - events,
        cpu: used(&cpu, &servers.cpu()?),
        latencies_us: Vec::new(),
    };
    servers.check()?;
    pacer.await??;
    while let Some(task) = tasks.join_next().await {
        let (actor, latencies) = task?;
        actors.push(actor);
        measure.latencies_us.extend(latencies);
    }
    Ok(measure)
}

/// The receiving half of one client: takes as many answers as requests are sent.
async fn receive<R: Role>(
    mut actor: Actor<R>,
    first: u64,
    number: usize,
    schedule: Schedule,
    tally: Arc<Tally>,
) -> (Actor<R>, Vec<u32>) {
    let deadline = schedule.due(schedule.rounds, 0) + LAST_ANSWERS_WITHIN;
    let mut latencies = Vec::new();
    let mut answered = 0;
    while answered < schedule.rounds {
        let absorbed = timeout_at(deadline.into(), actor.absorb(&tally)).await;
        let absorbed = absorbed.unwrap_or_else(|_| Err(io::Error::other("a heartbeat was never answered")));
        match actor.faults.check(absorbed) {
            Some(Some(id)) => {
                answered += 1;
                let round = id.saturating_sub(first);
                if round >= schedule.warm {
                    let late = schedule.due(round, number).elapsed();
                    latencies.push(u32::try_from(late.as_micros()).unwrap_or(u32::MAX));
                }
            }
            Some(None) => {}
            None => break,
        }
    }
    (actor, latencies)
}

/// The sending half of all clients, on a thread of its own because the runtime's timers are too coarse.
fn pace(mut senders: Vec<(Sender, &'static str, String)>, schedule: Schedule) -> io::Result<()> {
    for round in 0..schedule.rounds {
        for (number, (sender, event, payload)) in senders.iter_mut().enumerate() {
            let early = schedule.due(round, number).saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early);
            }
            sender.try_request(event, payload)?;
        }
    }
    Ok(())
}

impl Schedule {
    fn due(&self, round: u64, number: usize) -> Instant {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.start + Duration::from_secs(round) + self.step * number
    }
}
