//! The soak: load for a system that is already running. Many connections in small rooms, each with its own slow heartbeats from
//! the moment it joined, so that in heartbeat mode no one expires while the others connect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use crate::actor::member::Member;
use crate::actor::{Actor, Tally};
use crate::client::Client;
use crate::faults::Faults;

/// Clients that connect and join concurrently.
const WIDTH: usize = 64;

/// An answer that takes longer is a fault and ends the client.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Pause after the last join, beyond one period, until its effects are over.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// The load of a soak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The addresses to connect to, in turn. One client machine has only some 28,000 ports per address.
    pub(crate) at: Vec<String>,
    /// How many clients.
    pub(crate) connections: usize,
    /// How many of them share a room.
    pub(crate) room: usize,
    /// Milliseconds between two heartbeats of one client.
    pub(crate) period_ms: u64,
    /// Every n-th heartbeat is a patch; 0 for none.
    pub(crate) patch_every: u64,
    /// How many seconds are measured.
    pub(crate) seconds: u64,
}

impl Plan {
    fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms)
    }
}

/// The result of a soak.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How long it took until everyone had joined.
    pub(crate) joined_in: Duration,
    /// How long was measured.
    pub(crate) elapsed: Duration,
    /// Answers in that time.
    pub(crate) answers: u64,
    /// Events in that time.
    pub(crate) events: u64,
    /// How long answers took.
    pub(crate) latencies: Latencies,
    /// How often a client was sent a whole snapshot again.
    pub(crate) syncs: u64,
    /// Everything that went wrong.
    pub(crate) faults: Faults,
}

/// In microseconds, from the time a heartbeat was due, so that a late load generator does not improve the result.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// Until it was answered.
    pub(crate) answered: Vec<u32>,
    /// Until it was sent: the delay of the load generator itself.
    pub(crate) sent: Vec<u32>,
}

#[derive(Default)]
struct Stage {
    measuring: AtomicBool,
    over: AtomicBool,
    tally: Tally,
}

/// Connects everyone, waits until the last one has sent its first heartbeat, and measures.
pub(crate) async fn run(plan: &Plan) -> io::Result<Outcome> {
    let mut addresses = Vec::new();
    for at in &plan.at {
        let mut found = tokio::net::lookup_host(at).await?;
        addresses.push(found.next().ok_or_else(|| io::Error::other(format!("{at} has no address")))?);
    }
    let stage = Arc::new(Stage::default());
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    // Each lane hands its clients over one by one; each client runs as a task.
    let (hand, mut over) = tokio::sync::mpsc::channel(WIDTH);
    for lane in 0..WIDTH {
        let (plan, addresses, hand) = (plan.clone(), addresses.clone(), hand.clone());
        tokio::spawn(async move {
            for number in (lane..plan.connections).step_by(WIDTH) {
                if hand.send(enter(&plan, addresses[number % addresses.len()], number).await).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(hand);
    let mut outcome = Outcome::default();
    while let Some(entered) = over.recv().await {
        if let Some(actor) = outcome.faults.check(entered) {
            tasks.spawn(live(actor, plan.period(), stage.clone()));
        }
    }
    outcome.joined_in = began.elapsed();
    eprintln!("       {} have joined in {:.0} s …", tasks.len(), outcome.joined_in.as_secs_f64());
    sleep(plan.period() + SETTLED_AFTER).await;
    let ((answers, events), start) = (stage.tally.read(), Instant::now());
    stage.measuring.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(plan.seconds)).await;
    stage.measuring.store(false, Ordering::Relaxed);
    let (answers_then, events_then) = stage.tally.read();
    (outcome.answers, outcome.events) = (answers_then - answers, events_then - events);
    outcome.elapsed = start.elapsed();
    stage.over.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        let (mut actor, latencies) = task?;
        outcome.faults.absorb(std::mem::take(&mut actor.faults));
        outcome.syncs += actor.role.sequence().syncs();
        outcome.latencies.answered.extend(latencies.answered);
        outcome.latencies.sent.extend(latencies.sent);
    }
    Ok(outcome)
}

/// Connects and joins. Consecutive clients share a room, so that its members are on different gateways if there are several.
async fn enter(plan: &Plan, address: SocketAddr, number: usize) -> io::Result<Actor<Member>> {
    let client = Client::connect(address).await?;
    let room = format!("soak-{}-{}", std::process::id(), number / plan.room);
    let mut actor = Member::join(client, &room, &format!("u{number}")).await?;
    if plan.patch_every > 0 {
        actor.role.patch_every(plan.patch_every, number as u64);
    }
    Ok(actor)
}

/// One client: sends heartbeats when due and receives in between, until the end or until its connection is lost.
async fn live(mut actor: Actor<Member>, period: Duration, stage: Arc<Stage>) -> (Actor<Member>, Latencies) {
    let mut latencies = Latencies::default();
    let mut due = Instant::now() + period;
    let end = loop {
        match until(&mut actor, due, &stage).await {
            Ok(()) if stage.over.load(Ordering::Relaxed) => break Ok(()),
            Ok(()) => {}
            Err(error) => break Err(error),
        }
        let late = due.elapsed();
        match timeout_at((Instant::now() + ANSWER_WITHIN).into(), actor.beat(&stage.tally)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => break Err(error),
            Err(_) => break Err(io::Error::other("a heartbeat was never answered")),
        }
        if stage.measuring.load(Ordering::Relaxed) {
            latencies.sent.push(micros(late));
            latencies.answered.push(micros(due.elapsed()));
        }
        due += period;
    };
    actor.faults.check(end);
    (actor, latencies)
}

/// Receives until `due`.
async fn until(actor: &mut Actor<Member>, due: Instant, stage: &Stage) -> io::Result<()> {
    loop {
        match timeout_at(due.into(), actor.absorb(&stage.tally)).await {
            Ok(absorbed) => drop(absorbed?),
            Err(_) => return Ok(()),
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
