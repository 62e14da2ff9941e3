//! Twenty quiet rooms of two next to a loud one: 200 members, one of whom writes 60 KB as fast as it is answered. That is 12 MB for the
//! gateway to send each time. In the quiet rooms one member patches ten times a second and the other one waits for the event; what
//! they see without the loud room is the yardstick.
//!
//! A state has at most 16 KiB, so the 60 KB are metadata: they take the same way through the relay. The loud room's clients have a
//! thread of their own, so that reading 12 MB does not delay the clock of the quiet ones.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, sleep_until, timeout};

use super::Bench;
use crate::actor::member::Member;
use crate::actor::{Actor, Role, Tally};
use crate::client::Client;
use crate::client::packet::Packet;
use crate::client::scan::Needle;
use crate::faults::Faults;
use crate::load::measure::quantile_ms;
use crate::load::{Window, connect, join, members};
use crate::report::{Report, Row};

const QUIET_ROOMS: usize = 20;

/// Between two patches of a quiet room.
const PERIOD: Duration = Duration::from_millis(100);

const LOUD_MEMBERS: usize = 200;

/// What the loud room's writer writes: so many values of so many bytes.
const VALUES: usize = 4;
const VALUE_BYTES: usize = 15_000;

/// How long the loud room may take to be complete, and a quiet one to go on.
const WITHIN: Duration = Duration::from_secs(30);

static OK: Needle = Needle::new(r#""ok":true"#);

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let servers = bench.rollcall().await?;
    let joined = members(servers.address, QUIET_ROOMS * 2, QUIET_ROOMS).await?;
    let mut listeners = joined;
    let patchers = listeners.drain(..QUIET_ROOMS).collect::<Vec<_>>();
    let mut rooms: Vec<_> =
        patchers.into_iter().zip(listeners).map(|(patcher, listener)| Quiet::new(patcher, listener)).collect();

    let window = bench.everyday_window();
    let alone = measure(&mut rooms, window).await?;
    let loud = Loud::start(servers.address).await?;
    let (begun, writes, events) = (Instant::now(), loud.writes(), loud.events());
    let next_to_loud = measure(&mut rooms, window).await?;
    let rate = |now: u64, then: u64| (now - then) as f64 / begun.elapsed().as_secs_f64();
    let (write_rate, event_rate) = (rate(loud.writes(), writes), rate(loud.events(), events));
    let closed = loud.stop().await?;

    let mut faults = Faults::default();
    for actor in rooms.into_iter().flat_map(|room| [room.patcher, room.listener]) {
        faults.absorb(actor.faults);
        faults.check(actor.role.conclusion());
    }
    if event_rate == 0.0 {
        faults.note("the loud room said nothing".to_owned());
    }
    let [round_trip, delivery] =
        [next_to_loud.round_trips_us, next_to_loud.deliveries_us].map(|all| quantile_ms(&all, 0.99));
    Ok(Report {
        rows: vec![
            Row::new("quiet rooms next to a loud one: p99", round_trip, "ms")
                .yardstick(quantile_ms(&alone.round_trips_us, 0.99))
                .at_most(50.0),
            Row::new("— p99 from a patch to its event", delivery, "ms")
                .yardstick(quantile_ms(&alone.deliveries_us, 0.99))
                .at_most(50.0),
        ],
        notes: vec![format!(
            "loud room of {LOUD_MEMBERS}: {write_rate:.0} writes of {} KB a second, {event_rate:.0} events and {:.0} MB a second \
             received by its members, {closed} of whom were closed; the yardstick is the same quiet rooms alone",
            VALUES * VALUE_BYTES / 1000,
            event_rate * (VALUES * VALUE_BYTES) as f64 / 1e6,
        )],
        faults,
    })
}

/// A quiet room.
struct Quiet {
    patcher: Actor<Member>,
    listener: Actor<Member>,
}

/// What quiet rooms saw, in microseconds.
#[derive(Default)]
struct Latencies {
    round_trips_us: Vec<u32>,
    deliveries_us: Vec<u32>,
}

impl Quiet {
    fn new(mut patcher: Actor<Member>, listener: Actor<Member>) -> Self {
        patcher.role.patch_every(1, 0);
        Self { patcher, listener }
    }

    /// One patch: how long its answer takes, and its event.
    async fn patch(&mut self, tally: &Tally) -> io::Result<(Duration, Duration)> {
        let Self { patcher, listener } = self;
        let sent = Instant::now();
        let answer = async {
            patcher.beat(tally).await?;
            io::Result::Ok(sent.elapsed())
        };
        let event = async {
            let before = listener.role.sequence().seq();
            while listener.role.sequence().seq() == before {
                listener.absorb(tally).await?;
            }
            Ok(sent.elapsed())
        };
        tokio::try_join!(answer, event)
    }

    /// Patches until `end`; what is sent from `start` on counts.
    async fn go_on(&mut self, start: Instant, end: Instant) -> io::Result<Latencies> {
        let (tally, mut latencies) = (Tally::default(), Latencies::default());
        while Instant::now() < end {
            let sent = Instant::now();
            let patched = timeout(WITHIN, self.patch(&tally)).await;
            let (answer, event) = patched.map_err(|_| io::Error::other("a quiet room stands still"))??;
            if sent >= start {
                latencies.round_trips_us.push(u32::try_from(answer.as_micros()).unwrap_or(u32::MAX));
                latencies.deliveries_us.push(u32::try_from(event.as_micros()).unwrap_or(u32::MAX));
            }
            sleep_until((sent + PERIOD).into()).await;
        }
        Ok(latencies)
    }
}

/// All quiet rooms over one window; their patches are spread over the period.
async fn measure(rooms: &mut Vec<Quiet>, window: Window) -> io::Result<Latencies> {
    let start = Instant::now() + window.warm;
    let end = start + window.measured;
    let mut tasks = JoinSet::new();
    for (number, mut room) in (0..).zip(rooms.drain(..)) {
        tasks.spawn(async move {
            sleep(PERIOD * number / QUIET_ROOMS as u32).await;
            let latencies = room.go_on(start, end).await?;
            io::Result::Ok((room, latencies))
        });
    }
    let mut all = Latencies::default();
    while let Some(task) = tasks.join_next().await {
        let (room, latencies) = task??;
        rooms.push(room);
        all.round_trips_us.extend(latencies.round_trips_us);
        all.deliveries_us.extend(latencies.deliveries_us);
    }
    Ok(all)
}

/// The loud room, on a thread of its own.
struct Loud {
    state: Arc<State>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Default)]
struct State {
    writes: AtomicU64,
    /// Events that its members received.
    events: AtomicU64,
    /// Members whose connection ended.
    closed: AtomicUsize,
    over: AtomicBool,
}

impl Loud {
    /// Resolves when it is loud.
    async fn start(address: SocketAddr) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let thread = thread::spawn({
            let state = Arc::clone(&state);
            move || runtime::Builder::new_current_thread().enable_all().build()?.block_on(be_loud(address, &state))
        });
        let loud = Self { state, thread };
        let written = timeout(WITHIN, async {
            while loud.writes() == 0 && !loud.thread.is_finished() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        match written.await {
            Ok(()) if loud.writes() > 0 => Ok(loud),
            _ => match loud.stop().await {
                Err(error) => Err(error),
                Ok(_) => Err(io::Error::other("the loud room does not begin")),
            },
        }
    }

    fn writes(&self) -> u64 {
        self.state.writes.load(Ordering::Relaxed)
    }

    fn events(&self) -> u64 {
        self.state.events.load(Ordering::Relaxed)
    }

    /// Ends it; says how many of its members were closed.
    async fn stop(self) -> io::Result<usize> {
        let closed = self.state.closed.load(Ordering::Relaxed);
        self.state.over.store(true, Ordering::Relaxed);
        let ended = timeout(WITHIN, spawn_blocking(|| self.thread.join())).await;
        let ended = ended.map_err(|_| io::Error::other("the loud room's writer waits for an answer in vain"))??;
        ended.map_err(|_| io::Error::other("the loud room's thread panicked"))??;
        Ok(closed)
    }
}

async fn be_loud(address: SocketAddr, state: &Arc<State>) -> io::Result<()> {
    let mut clients = join(connect(address, LOUD_MEMBERS).await?, 1, "loud").await?.into_iter();
    let writer = clients.next().ok_or_else(|| io::Error::other("no members"))?;
    let mut readers = JoinSet::new();
    for reader in clients {
        let state = Arc::clone(state);
        readers.spawn(async move {
            read(reader.client, &state).await;
            state.closed.fetch_add(1, Ordering::Relaxed);
        });
    }
    write(writer.client, state).await
}

/// Counts events until the connection ends.
async fn read(mut reader: Client, state: &State) {
    while let Ok(packet) = reader.receive().await {
        state.events.fetch_add(u64::from(matches!(packet, Packet::Event { .. })), Ordering::Relaxed);
    }
}

async fn write(mut writer: Client, state: &State) -> io::Result<()> {
    let value = "x".repeat(VALUE_BYTES);
    let items = (0..VALUES).map(|n| format!(r#"{{"key":"k{n}","value":"{value}"}}"#)).collect::<Vec<_>>();
    let payload = format!(r#"{{"channelName":"loud-0","channelType":"loud","data":[{}]}}"#, items.join(","));
    while !state.over.load(Ordering::Relaxed) {
        let answer = writer.call("metadata:setChannel", &payload).await?;
        if !OK.is_in(&answer) {
            let answer = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
            return Err(io::Error::other(format!("metadata:setChannel answered {answer}")));
        }
        state.writes.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
