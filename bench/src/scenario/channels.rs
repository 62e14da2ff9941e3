//! What else changes a room: updates of its channel's metadata and its locks, in the closed loop of the patching heartbeats and
//! compared with them. Then one lock that 20 sockets want, where it counts how soon it is handed on.

use std::io;
use std::time::Instant;

use super::{Bench, WINDOW, patches};
use crate::actor::Actor;
use crate::actor::locker::{LastRelease, Locker};
use crate::actor::updater::Updater;
use crate::client::Client;
use crate::client::scan::Needle;
use crate::faults::Faults;
use crate::load::lane::Lane;
use crate::load::measure::Measure;
use crate::load::{connect, join, members};
use crate::report::{Report, Row};

const CLIENTS: usize = 200;
const ROOMS: usize = CLIENTS / 2;

/// How many want one lock.
const WAITING: usize = 20;

/// How long they wait for it: as long as they may.
const WAIT_MS: u64 = 10_000;

/// Round trips of an idle client in a turn.
const ROUND_TRIPS: usize = 500;

static OK: Needle = Needle::new(r#""ok":true"#);

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let mut patchers = patches::patchers(bench.rollcall().await?).await?;
    let (mut updaters, mut lockers) = (updaters(bench).await?, lockers(bench).await?);
    let mut report = Report::default();
    for _ in 0..bench.turns() {
        patchers.closed_loop(WINDOW).await?;
        updaters.closed_loop(WINDOW).await?;
        lockers.closed_loop(WINDOW).await?;
    }

    report.faults.absorb(patchers.faults());
    report.faults.absorb(updaters.faults());
    report.faults.absorb(lockers.faults());
    let (patch, update, lock) = (patchers.measure, updaters.measure, lockers.measure);
    report.rows = vec![
        Row::new("metadata update, closed loop of 200: CPU", update.cpu_us(), "µs")
            .yardstick(patch.cpu_us())
            .at_most_times(1.5),
        Row::new("— updates a second", update.rate(), "/s").yardstick(patch.rate()),
        Row::new("— p50", update.latency_ms(0.5), "ms").yardstick(patch.latency_ms(0.5)),
        Row::new("— p99", update.latency_ms(0.99), "ms").yardstick(patch.latency_ms(0.99)),
        // Two answers each.
        Row::new("lock acquired and released, closed loop of 200: CPU", lock.cpu_us() * 2.0, "µs")
            .yardstick(patch.cpu_us()),
        Row::new("— pairs a second", lock.rate() / 2.0, "/s"),
    ];
    report.notes.push(format!(
        "channels: rooms of two, compared with patching heartbeats; µs of CPU a patch: {}; an update ({:.1} events each): {}; \
         half a pair ({:.1} events each): {}",
        patch.cpu_by_process(),
        update.event_rate() / update.rate(),
        update.cpu_by_process(),
        lock.event_rate() / lock.rate(),
        lock.cpu_by_process()
    ));
    report.add(contention(bench, Contenders::Apart).await?);
    report.add(contention(bench, Contenders::Members).await?);
    Ok(report)
}

/// Members of rooms of two, each with its own key of its room's channel.
async fn updaters(bench: &Bench) -> io::Result<Lane<Updater>> {
    let servers = bench.rollcall().await?;
    let joined = members(servers.address, CLIENTS, ROOMS).await?;
    let mut actors = Vec::new();
    for (number, mut member) in joined.into_iter().enumerate() {
        let (room, key) = (format!("room-{}", number % ROOMS), number / ROOMS);
        if key == 0 {
            Updater::create(&mut member.client, &room, CLIENTS / ROOMS).await?;
        }
        actors.push(Actor::new(member.client, Updater::new(&room, key)));
    }
    Ok(Lane::new(servers, actors))
}

/// Members of rooms of two, each with its own lock of its room's channel.
async fn lockers(bench: &Bench) -> io::Result<Lane<Locker>> {
    let servers = bench.rollcall().await?;
    let joined = members(servers.address, CLIENTS, ROOMS).await?;
    let actors = joined.into_iter().enumerate().map(|(number, member)| {
        let (room, lock) = (format!("room-{}", number % ROOMS), format!("lock-{number}"));
        Actor::new(member.client, Locker::new(&room, &lock, 0, LastRelease::never()))
    });
    let actors = actors.collect();
    Ok(Lane::new(servers, actors))
}

/// Those who want one lock.
#[derive(Clone, Copy)]
enum Contenders {
    /// Each in a room of its own: a handover is one request and one message.
    Apart,
    /// All in the lock's room: each is also sent two events per handover.
    Members,
}

/// One lock that all want at once, compared with the round trips of a client on the same idle servers.
async fn contention(bench: &Bench, contenders: Contenders) -> io::Result<Report> {
    let servers = bench.rollcall().await?;
    let idle = join(connect(servers.address, 1).await?, 1, "idle").await?;
    let mut idle = idle.into_iter().map(|member| member.client).collect::<Vec<_>>();
    let last_release = LastRelease::never();
    let (rooms, channel, who) = match contenders {
        Contenders::Apart => (WAITING, "elsewhere", "20"),
        Contenders::Members => (1, "room-0", "20 members of its room"),
    };
    let joined = members(servers.address, WAITING, rooms).await?;
    let actors = joined
        .into_iter()
        .map(|member| Actor::new(member.client, Locker::new(channel, "wanted", WAIT_MS, last_release.clone())));
    let actors = actors.collect();
    let mut lane = Lane::new(servers, actors);
    let (mut faults, mut plain) = (Faults::default(), Measure::default());
    for _ in 0..bench.turns() {
        for client in &mut idle {
            round_trips(client, &mut plain, &mut faults).await?;
        }
        lane.closed_loop(WINDOW).await?;
    }

    faults.absorb(lane.faults());
    let roles = || lane.actors.iter().map(|actor| &actor.role);
    let longest = roles().map(Locker::longest_wait_us).max().unwrap_or_default();
    let handovers = roles().flat_map(Locker::handovers_us).copied().collect();
    let handover = Measure { latencies_us: handovers, ..Measure::default() };
    let row = Row::new("— handover p50, against a plain round trip", handover.latency_ms(0.5), "ms")
        .yardstick(plain.latency_ms(0.5));
    Ok(Report {
        rows: vec![
            Row::new(format!("one lock that {who} want: handovers"), lane.measure.rate() / 2.0, "/s"),
            Row::new("— longest wait", longest as f64 / 1000.0, "ms"),
            match contenders {
                Contenders::Apart => row.at_most_times(2.0),
                Contenders::Members => row,
            },
        ],
        notes: vec![format!(
            "one lock that {who} want: {:.0} events a second; p99 of a handover {:.2} ms, of a plain round trip (lock:get) {:.2} ms",
            lane.measure.event_rate(),
            handover.latency_ms(0.99),
            plain.latency_ms(0.99)
        )],
        faults,
    })
}

/// One question after the other, with nothing else going on.
async fn round_trips(client: &mut Client, measure: &mut Measure, faults: &mut Faults) -> io::Result<()> {
    for _ in 0..ROUND_TRIPS {
        let sent = Instant::now();
        let answer = client.call("lock:get", r#"{"channelName":"idle-0","channelType":"bench"}"#).await?;
        measure.latencies_us.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        if !OK.is_in(&answer) {
            faults.note(format!("lock:get answered {}", String::from_utf8_lossy(&answer)));
        }
    }
    Ok(())
}
