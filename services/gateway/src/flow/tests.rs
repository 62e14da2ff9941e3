//! When a session is read from.

mod answers;
mod bytes;
mod debtors;

use tokio::time::timeout;

use super::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Few events and bytes, so that a test does not wait.
fn limits(events: u64, bytes: u64) -> Limits {
    Limits { events: Quota::new(events, 4), bytes: Quota::new(bytes, 2) }
}

async fn is_readable_within(flow: &Arc<Flow>, time: Duration) -> bool {
    timeout(time, Arc::clone(flow).readable()).await.is_ok()
}

#[tokio::test]
async fn reading_pauses_after_the_first_event_over_a_limit() {
    let flow = Flow::new(&Backlog::new(MIB));
    let limits = limits(5, 0);
    assert_eq!((0..100).filter(|_| flow.admit(&limits, 100, false).is_ok()).count(), 20);
    let excess = flow.admit(&limits, 100, false).unwrap_err();
    assert_eq!((excess.refusal, excess.retry_after), (Refusal::SocketEvents, PAUSE));
    assert!(!flow.is_readable() && !is_readable_within(&flow, PAUSE / 2).await);
    assert!(is_readable_within(&flow, PAUSE).await);
    assert!(flow.admit(&limits, 100, false).is_ok(), "a pause is long enough for another event");
}

#[test]
fn bytes_are_limited_and_zero_is_no_limit() {
    let flow = Flow::new(&Backlog::new(MIB));
    let kib = |flow: &Flow, limits| (0..100).filter(|_| flow.admit(&limits, KIB, false).is_ok()).count();
    assert_eq!(kib(&flow, limits(0, 10 * 1024)), 20);
    assert_eq!(flow.admit(&limits(0, 1024), KIB, false).unwrap_err().refusal, Refusal::SocketBytes);
    assert_eq!(kib(&Flow::new(&Backlog::new(MIB)), limits(0, 0)), 100);
}

#[test]
fn one_join_a_second_is_accepted_beyond_the_rate() {
    let flow = Flow::new(&Backlog::new(MIB));
    let limits = limits(1, 0);
    while flow.admit(&limits, 1, false).is_ok() {}
    assert!(flow.admit(&limits, 1, true).is_ok());
    assert!(flow.admit(&limits, 1, true).is_err(), "but no second one");
}

#[tokio::test]
async fn what_is_no_event_pauses_reading_until_nothing_is_owed() {
    let flow = Flow::new(&Backlog::new(MIB));
    assert_eq!(flow.charge(39), Duration::ZERO);
    assert!(flow.is_readable());
    let owed = flow.charge(6);
    assert!(owed > Duration::from_millis(400) && owed <= Duration::from_millis(500), "{owed:?}");
    assert!(!flow.is_readable() && is_readable_within(&flow, Duration::from_secs(1)).await);
    assert!(flow.admit(&limits(5, 0), 1, false).is_ok(), "events have their own rate");
}

#[tokio::test]
async fn a_queue_pauses_reading_for_a_limited_time() {
    let flow = Flow::new(&Backlog::new(MIB));
    flow.queue_is_full();
    let waits = tokio::spawn(Arc::clone(&flow).readable());
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    flow.queue_has_room();
    timeout(QUEUE_PAUSE / 2, waits).await.unwrap().unwrap();
    flow.queue_is_full();
    assert!(is_readable_within(&flow, 2 * QUEUE_PAUSE).await, "pongs are read");
}

#[tokio::test]
async fn a_session_that_has_ended_is_read_so_that_its_end_is_noticed() {
    let flow = Flow::new(&Backlog::new(MIB));
    flow.keeps(1);
    let waits = tokio::spawn(Arc::clone(&flow).readable());
    tokio::task::yield_now().await;
    assert!(flow.is_blocked() && !waits.is_finished());
    flow.end();
    waits.await.unwrap();
}
