//! 1,000 joins into one room at once: until all are answered, and until each member knows all 1,000, by its snapshot and by the
//! events after it, each of them in order.

use std::io;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::Bench;
use crate::actor::member::{join_payload, joined_epoch};
use crate::actor::sequence::Sequence;
use crate::client::Client;
use crate::client::packet::Packet;
use crate::client::scan::Needle;
use crate::faults::Faults;
use crate::load::connect;
use crate::report::{Report, Row};

const MEMBERS: usize = 1000;

static JOIN: Needle = Needle::new(r#""type":"join""#);
static USER: Needle = Needle::new(r#""userId":"u"#);

/// A storm that has not passed by then has failed.
const PASSED_WITHIN: Duration = Duration::from_secs(30);

/// How long a member waits for unexpected events once it knows every member.
const AFTERMATH: Duration = Duration::from_millis(300);

/// How one storm went.
#[derive(Default)]
struct Storm {
    answered: Duration,
    complete: Duration,
    events: u64,
    syncs: u64,
    cpu: Duration,
    faults: Faults,
}

/// One member in the storm.
#[derive(Default)]
struct Member {
    sequence: Option<Sequence>,
    known: Known,
    answered: Duration,
    events: u64,
    faults: Faults,
}

/// Which users a member knows.
struct Known {
    users: Vec<bool>,
    count: usize,
}

pub(crate) async fn run(bench: &Bench) -> io::Result<Report> {
    let mut storms = Vec::new();
    for _ in 0..bench.storms() {
        storms.push(storm(bench).await?);
    }
    let seconds = |time: Duration| time.as_secs_f64();
    let worst = |time: fn(&Storm) -> Duration| storms.iter().map(time).max().map_or(f64::NAN, seconds);
    let rows = vec![
        Row::new("1,000 joins to one room: all answered", worst(|storm| storm.answered), "s").at_most(1.0),
        Row::new("— every event at every member", worst(|storm| storm.complete), "s").at_most(3.0),
    ];
    let mut report = Report { rows, ..Report::default() };
    for storm in storms {
        report.notes.push(format!(
            "a storm of 1,000 joins: answered {:.2} s, complete {:.2} s, {} events and {} resynchronisations delivered, CPU {:.2} s",
            seconds(storm.answered),
            seconds(storm.complete),
            storm.events,
            storm.syncs,
            seconds(storm.cpu)
        ));
        report.faults.absorb(storm.faults);
    }
    Ok(report)
}

async fn storm(bench: &Bench) -> io::Result<Storm> {
    let mut servers = bench.rollcall().await?;
    let clients = connect(servers.address, MEMBERS).await?;
    let cpu = |servers: &crate::servers::Servers| {
        io::Result::Ok(servers.cpu()?.iter().map(|(_, time)| *time).sum::<Duration>())
    };
    let before = cpu(&servers)?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        tasks.spawn(take_part(client, number, start));
    }
    let mut storm = Storm::default();
    let mut last = Vec::new();
    // Who has finished stays until all have: its leave would be an event for the others.
    let mut finished = Vec::new();
    while let Some(task) = tasks.join_next().await {
        let (member, complete, client) = task?;
        finished.push(client);
        storm.answered = storm.answered.max(member.answered);
        storm.complete = storm.complete.max(complete);
        storm.events += member.events;
        storm.faults.absorb(member.faults);
        if let Some(sequence) = member.sequence {
            storm.syncs += sequence.syncs();
            last.push(sequence.seq());
        }
    }
    storm.cpu = cpu(&servers)?.saturating_sub(before);
    servers.check()?;
    if last.len() != MEMBERS || last.iter().any(|seq| *seq != last[0]) {
        storm.faults.note(format!(
            "not all members end at one seq: {:?} to {:?}",
            last.iter().min(),
            last.iter().max()
        ));
    }
    Ok(storm)
}

/// Joins and receives until every member is known; returns when that was.
async fn take_part(mut client: Client, number: usize, start: Instant) -> (Member, Duration, Client) {
    let mut member = Member::default();
    let joined = client.send("presence:join", &join_payload("storm", &format!("u{number}"))).await;
    member.faults.check(joined);
    let receive = async {
        while member.known.count < MEMBERS {
            let packet = client.receive().await?;
            member.take(&packet, start).map_err(io::Error::other)?;
        }
        io::Result::Ok(())
    };
    let received = timeout_at((start + PASSED_WITHIN).into(), receive).await;
    let complete = start.elapsed();
    let received = received
        .unwrap_or_else(|_| Err(io::Error::other(format!("a member knows only {} of 1,000", member.known.count))));
    member.faults.check(received);
    let conclusion = loop {
        let is_connected = timeout(AFTERMATH, member.listen(&mut client, start)).await.is_err();
        let conclusion = member.sequence.as_ref().map_or(Ok(()), Sequence::conclusion);
        // Who learned the last of them by events that replace missed ones is sent a sync too, once its queue has room.
        if conclusion.is_ok() || !is_connected || start.elapsed() > PASSED_WITHIN {
            break conclusion;
        }
    };
    member.faults.check(conclusion);
    (member, complete, client)
}

impl Member {
    /// Receives until the connection is lost.
    async fn listen(&mut self, client: &mut Client, start: Instant) {
        while let Ok(packet) = client.receive().await {
            let taken = self.take(&packet, start);
            self.faults.check(taken);
        }
    }

    fn take(&mut self, packet: &Packet<'_>, start: Instant) -> Result<(), String> {
        match (packet, &mut self.sequence) {
            (Packet::Answer { body, .. }, sequence @ None) => {
                self.answered = start.elapsed();
                joined_epoch(body)?;
                *sequence = Some(Sequence::start(body)?);
                self.known.replace(body)
            }
            (Packet::Event { name: b"presence:event", body }, Some(sequence)) => {
                self.events += 1;
                if !JOIN.is_in(body) {
                    return Err(format!("an unexpected event {}", String::from_utf8_lossy(body)));
                }
                sequence.event(body)?;
                self.known.add(body)
            }
            (Packet::Event { name: b"presence:sync", body }, Some(sequence)) => {
                sequence.sync(body)?;
                self.known.replace(body)
            }
            (other, _) => Err(format!("unexpected in a storm: {}", &format!("{other:?}")[..60])),
        }
    }
}

impl Known {
    /// Replaces all users by those of a snapshot.
    fn replace(&mut self, snapshot: &[u8]) -> Result<(), String> {
        *self = Self::default();
        self.add(snapshot)
    }

    /// Takes every user that is named, each for the first time.
    fn add(&mut self, body: &[u8]) -> Result<(), String> {
        for user in USER.numbers_after(body) {
            let user = user.and_then(|user| usize::try_from(user).ok());
            let known = user.and_then(|user| self.users.get_mut(user)).ok_or("a user that never joined")?;
            if !std::mem::replace(known, true) {
                self.count += 1;
            }
        }
        Ok(())
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { users: vec![false; MEMBERS], count: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = br#"{"ok":true,"snapshot":[{"connId":"a","userId":"u7","epoch":1},{"connId":"b","userId":"u9","epoch":2}],"self":{"connId":"b","epoch":2},"seq":2,"gen":5}"#;

    #[test]
    fn snapshot_and_events_add_up() {
        let mut member = Member::default();
        member.take(&Packet::Answer { id: 0, body: ANSWER }, Instant::now()).unwrap();
        let joined = br#"{"type":"join","userId":"u11","seq":3,"gen":5}"#;
        member.take(&Packet::Event { name: b"presence:event", body: joined }, Instant::now()).unwrap();
        assert_eq!(member.known.count, 3);
        assert_eq!(member.sequence.unwrap().seq(), 3);
    }

    #[test]
    fn an_event_before_the_answer_is_a_fault() {
        let joined = br#"{"type":"join","userId":"u11","seq":3,"gen":5,"connId":"c","epoch":3}"#;
        let packet = Packet::Event { name: b"presence:event", body: joined };
        assert!(Member::default().take(&packet, Instant::now()).is_err());
    }

    #[test]
    fn a_known_user_does_not_count_twice() {
        let mut known = Known::default();
        known.add(ANSWER).unwrap();
        known.add(ANSWER).unwrap();
        assert_eq!(known.count, 2);
        assert!(known.add(br#""userId":"u1000""#).is_err());
    }
}
