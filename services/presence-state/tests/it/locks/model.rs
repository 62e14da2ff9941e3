//! Random lives of two locks among four connections, played against Redis and against a list of who comes next.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use rollcall_protocol::{
    command::lock::Locked,
    event::lock::{Change, LockEvent},
};

use super::held;
use crate::{cases::play_cases, site::Site};

const CASES: u32 = 64;
const STEPS: usize = 40;
const LOCKS: [&str; 2] = ["l", "l:m"];

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        conn: usize,
        lock: usize,
        waits: bool,
    },
    Release {
        conn: usize,
        lock: usize,
        old_fence: bool,
    },
    Withdraw {
        conn: usize,
        lock: usize,
        keep: bool,
    },
    Drop {
        conn: usize,
    },
    /// The holder's time is over, and someone looks.
    Outlive {
        lock: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = || (0usize..4, 0usize..2);
    prop_oneof![
        6 => (at(), prop::bool::weighted(0.8)).prop_map(|((conn, lock), waits)| Step::Acquire { conn, lock, waits }),
        4 => (at(), prop::bool::weighted(0.1)).prop_map(|((conn, lock), old_fence)| Step::Release { conn, lock, old_fence }),
        2 => (at(), any::<bool>()).prop_map(|((conn, lock), keep)| Step::Withdraw { conn, lock, keep }),
        1 => (0usize..4).prop_map(|conn| Step::Drop { conn }),
        2 => (0usize..2).prop_map(|lock| Step::Outlive { lock }),
    ]
}

#[derive(Default)]
struct Lock {
    /// Who, under which fence, by which operation.
    holder: Option<(usize, u64, u64)>,
    line: VecDeque<(usize, u64)>,
    highest_fence: u64,
}

#[test]
fn whatever_is_asked_the_locks_are_whose_the_model_says() {
    play_cases(CASES, STEPS, step(), play);
}

async fn play(site: &Site, steps: &[Step]) {
    let mut events = site.listen().await;
    let mut locks: [Lock; 2] = Default::default();
    for (step, op) in steps.iter().zip(1..) {
        // What has to be sent about each lock.
        let mut expected: BTreeMap<&str, Vec<(Change, usize)>> = BTreeMap::new();
        let mut end = |lock: &mut Lock, name: &'static str, change: Change| {
            let Some((conn, ..)) = lock.holder.take() else { return };
            let expected = expected.entry(name).or_default();
            expected.push((change, conn));
            if let Some((next, op)) = lock.line.pop_front() {
                lock.holder = Some((next, 0, op));
                expected.push((Change::Acquired, next));
            }
        };
        match *step {
            Step::Acquire { conn, lock: at, waits } => {
                let (name, lock) = (LOCKS[at], &mut locks[at]);
                let answer = site.acquire(name, &conn_name(conn), op, if waits { 60_000 } else { 0 }).await;
                let place = lock.line.iter().position(|(other, _)| *other == conn);
                match lock.holder {
                    None => {
                        assert!(held(&answer).fence > lock.highest_fence);
                        lock.holder = Some((conn, 0, op));
                        expected.entry(name).or_default().push((Change::Acquired, conn));
                    }
                    Some((holder, fence, _)) if holder == conn => {
                        assert_eq!(held(&answer).fence, fence);
                        lock.holder = Some((conn, fence, op));
                    }
                    Some(_) if place.is_some() || waits => {
                        match place {
                            // The newest operation counts; the place stays.
                            Some(place) => lock.line[place].1 = op,
                            None => lock.line.push_back((conn, op)),
                        }
                        let expected = place.unwrap_or(lock.line.len() - 1) as u64;
                        assert!(matches!(answer, Locked::Waits { ahead, .. } if ahead == expected), "{answer:?}");
                    }
                    Some((holder, ..)) => {
                        assert!(matches!(&answer, Locked::Taken(by) if by.conn.as_str() == conn_name(holder)));
                    }
                }
            }
            Step::Release { conn, lock: at, old_fence } => {
                let (name, lock) = (LOCKS[at], &mut locks[at]);
                let fence = lock.highest_fence - u64::from(old_fence && lock.highest_fence > 0);
                let answer = site.release(name, &conn_name(conn), op, fence).await;
                if lock.holder.is_some_and(|(holder, current, _)| holder == conn && current == fence) {
                    assert_eq!(answer, Locked::Done);
                    end(lock, name, Change::Released);
                } else {
                    assert_eq!(answer, Locked::Lost);
                }
            }
            Step::Withdraw { conn, lock: at, keep } => {
                let (name, lock) = (LOCKS[at], &mut locks[at]);
                let asked = lock.line.iter().find(|(other, _)| *other == conn).map(|(_, op)| *op);
                let own = lock.holder.filter(|(holder, ..)| *holder == conn).map(|(.., op)| op);
                let Some(of) = asked.or(own) else { continue };
                let answer = site.withdraw(name, &conn_name(conn), of, keep).await;
                lock.line.retain(|(other, _)| *other != conn);
                if own.is_some() && keep {
                    assert_eq!(held(&answer).conn.as_str(), conn_name(conn));
                } else {
                    assert!(matches!(answer, Locked::Withdrawn(_)));
                    if own.is_some() {
                        end(lock, name, Change::Released);
                    }
                }
            }
            Step::Drop { conn } => {
                site.drop_locks(&conn_name(conn), op).await;
                for (lock, name) in locks.iter_mut().zip(LOCKS) {
                    lock.line.retain(|(other, _)| *other != conn);
                    if lock.holder.is_some_and(|(holder, ..)| holder == conn) {
                        end(lock, name, Change::Released);
                    }
                }
            }
            Step::Outlive { lock: at } => {
                site.outlive(LOCKS[at]).await;
                site.expire_locks().await;
                end(&mut locks[at], LOCKS[at], Change::Expired);
            }
        }
        compare(site, &mut locks, &events.texts().await, expected).await;
    }
}

async fn compare(
    site: &Site,
    locks: &mut [Lock; 2],
    texts: &[String],
    mut expected: BTreeMap<&str, Vec<(Change, usize)>>,
) {
    let mut heard: BTreeMap<String, Vec<(Change, usize)>> = BTreeMap::new();
    for text in texts {
        let event = LockEvent::read(text).unwrap();
        let conn = event.conn[1..].parse().unwrap();
        heard.entry(event.name.to_owned()).or_default().push((event.change, conn));
        let lock = &mut locks[LOCKS.iter().position(|name| *name == event.name).unwrap()];
        if event.change == Change::Acquired {
            assert!(event.fence > lock.highest_fence, "{event:?} after {}", lock.highest_fence);
            lock.highest_fence = event.fence;
            if let Some((_, fence, op)) = &mut lock.holder {
                *fence = event.fence;
                assert_eq!(event.op, *op);
            }
        }
    }
    for name in LOCKS {
        assert_eq!(heard.remove(name).unwrap_or_default(), expected.remove(name).unwrap_or_default(), "{name}");
    }
    let stored: BTreeMap<_, _> = site
        .locks()
        .await
        .into_iter()
        .map(|one| (one.lock.name.as_str().to_owned(), (one.conn.as_str().to_owned(), one.fence)))
        .collect();
    for (lock, name) in locks.iter().zip(LOCKS) {
        let expected = lock.holder.map(|(conn, fence, _)| (conn_name(conn), fence));
        assert_eq!(stored.get(name).cloned(), expected, "{name}");
    }
}

fn conn_name(conn: usize) -> String {
    format!("c{conn}")
}
