use std::time::Instant;

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    backlog::Debtor,
    outward::{Answer, Buffer, MOST_WAITING},
    *,
};

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

#[test]
fn one_packet_may_be_larger_than_the_budget_of_a_socket() {
    let flow = Flow::new(&Backlog::new(100 * MIB));
    assert!(flow.has_room_for(MOST_WAITING) && flow.has_room_for(8 * MIB));
    flow.sends(MOST_WAITING - 10);
    assert!(flow.has_room_for(10) && !flow.has_room_for(11) && flow.has_room_for(8 * MIB) && !flow.is_blocked());
    flow.sends(8 * MIB);
    assert!(!flow.has_room_for(1) && !flow.has_room_for(8 * MIB) && flow.is_blocked());
    flow.took(8 * MIB);
    assert!(flow.has_room_for(10) && !flow.is_blocked());
}

#[test]
fn all_bytes_are_counted_once_in_the_process_and_none_are_left() {
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    flow.sends(100);
    flow.did_not_send(100);
    flow.sends(1_000);
    flow.keeps(300);
    flow.keeps(200);
    assert_eq!((backlog.waiting(), flow.owed()), (1_500, 1_500));
    flow.keeps_less(300);
    assert!(flow.is_blocked());
    flow.keeps_less(200);
    assert!(!flow.is_blocked());
    let answer = Answer::counted(Bytes::from(vec![0; 900]), Arc::clone(&flow));
    let rest = answer.slice(890..);
    drop(answer);
    assert_eq!(backlog.waiting(), 1_000, "hyper still has a part of it");
    drop(rest);
    assert_eq!(backlog.waiting(), 100);
    // Pings were written too.
    flow.took(150);
    assert_eq!(backlog.waiting(), 0);
    flow.has_buffer(Buffer::Write, 100);
    assert_eq!(backlog.waiting(), 0, "a small buffer is a part of any connection");
    flow.has_buffer(Buffer::Write, 8 * MIB);
    flow.has_buffer(Buffer::Write, MIB);
    flow.has_buffer(Buffer::Read, 64 * KIB);
    assert_eq!(backlog.waiting(), 8 * MIB + 64 * KIB);
    drop(flow);
    assert_eq!(backlog.waiting(), 0);
}

/// A debtor that keeps its memory for a while after it was closed.
#[derive(Default)]
struct Client(Mutex<Option<Refusal>>);

impl Debtor for Client {
    fn close(&self, refusal: Refusal) {
        *self.0.lock() = Some(refusal);
    }
}

fn debtor(backlog: &Arc<Backlog>, bytes: usize) -> (Arc<Flow>, Arc<Client>) {
    let (flow, client) = (Flow::new(backlog), Arc::<Client>::default());
    let weak: std::sync::Weak<Client> = Arc::downgrade(&client);
    flow.carries(weak);
    flow.sends(bytes);
    flow.list();
    (flow, client)
}

#[test]
fn the_largest_debtors_are_closed_first_and_no_more_than_needed() {
    let backlog = Backlog::new(MIB);
    let debtors: Vec<_> = [100, 500, 300, 200, 1].map(|kib| debtor(&backlog, kib * KIB)).into();
    let closed = || debtors.iter().map(|(_, client)| client.0.lock().is_some()).collect::<Vec<_>>();
    backlog.look(Instant::now());
    assert_eq!(closed(), [false, true, false, false, false]);
    backlog.look(Instant::now());
    assert_eq!(closed(), [false, true, false, false, false], "its memory is not free yet");
    debtors[0].0.sends(600 * KIB);
    backlog.look(Instant::now());
    assert_eq!(closed(), [true, true, false, false, false]);
    assert_eq!(*debtors[0].1.0.lock(), Some(Refusal::ProcessBacklog));
}

#[test]
fn a_session_over_its_budget_is_closed_when_it_takes_nothing() {
    let backlog = Backlog::new(100 * MIB);
    let (within, over, slow) =
        (debtor(&backlog, MOST_WAITING), debtor(&backlog, MOST_WAITING + 1), debtor(&backlog, 3 * MIB));
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    backlog.look(later(1));
    slow.0.took(1);
    backlog.look(later(9));
    assert!(over.1.0.lock().is_none());
    backlog.look(later(12));
    assert_eq!(*over.1.0.lock(), Some(Refusal::SocketBacklog));
    assert!(within.1.0.lock().is_none() && slow.1.0.lock().is_none());
}

#[tokio::test(start_paused = true)]
async fn large_answers_are_built_while_there_is_room_and_the_others_wait_in_a_line() {
    let backlog = Backlog::new(100 * MIB);
    let looks = tokio::spawn({
        let backlog = Arc::clone(&backlog);
        async move { backlog.pace.look().await }
    });
    let (_flow, client) = debtor(&backlog, 60 * MIB);
    let first = backlog.reserve(8 * MIB).await;
    assert!(first.suffices(8 * MIB) && !first.suffices(9 * MIB));
    let reserve = |bytes| timeout(Duration::from_millis(100), backlog.reserve(bytes));
    assert!(reserve(8 * MIB).await.is_err(), "there is no room for a second one");
    assert_eq!(backlog.waiting(), 92 * MIB);
    assert!(reserve(KIB).await.is_ok(), "small ones do not wait");
    let waits = tokio::spawn({
        let backlog = Arc::clone(&backlog);
        async move { backlog.reserve(8 * MIB).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    backlog.look(Instant::now());
    assert_eq!(*client.0.lock(), Some(Refusal::ProcessBacklog), "debts over half of the budget stand in its way");
    assert!(!waits.is_finished());
    drop(first);
    drop(waits.await.unwrap());
    assert_eq!(backlog.waiting(), 60 * MIB);
    looks.abort();
}

/// How long large work waits after this many answers of joins were made, each expected to have so many bytes and then having others.
async fn after_answers(times: usize, expected: usize, bytes: usize) -> Duration {
    let backlog = Backlog::new(100 * MIB);
    let looks = tokio::spawn({
        let backlog = Arc::clone(&backlog);
        async move { backlog.pace.look().await }
    });
    for _ in 0..times {
        let share = backlog.wait_to_answer_join(expected).await;
        let share = backlog.fit_to_answer(share, bytes).await;
        assert!(share.suffices(bytes));
    }
    let asked = tokio::time::Instant::now();
    backlog.pace.turn(KIB).await;
    looks.abort();
    assert_eq!(backlog.waiting(), 0);
    asked.elapsed()
}

#[tokio::test(start_paused = true)]
async fn large_work_waits_for_the_answers_of_joins_once() {
    let ms = Duration::from_millis;
    assert_eq!(after_answers(500, 0, 400 * KIB).await, ms(0), "small ones take nothing from it");
    let for_largest = after_answers(1, 0, 64 * MIB).await;
    assert!(for_largest > ms(350), "as long as they take: {for_largest:?}");
    for expected in [32 * MIB, 64 * MIB] {
        let waited = after_answers(1, expected, 64 * MIB).await;
        assert!(waited.abs_diff(for_largest) <= ms(20), "what had its turn is not waited for again: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_work_does_not_wait_for_a_join_that_was_refused() {
    let backlog = Backlog::new(100 * MIB);
    let share = backlog.wait_to_answer_join(64 * MIB).await;
    backlog.give_back(share);
    let turn = backlog.pace.turn(KIB);
    assert!(timeout(Duration::ZERO, turn).await.is_ok());
    assert_eq!(backlog.waiting(), 0);
}

#[tokio::test]
async fn one_large_answer_may_always_be_built() {
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    let reserved = backlog.reserve(8 * MIB).await;
    assert!(flow.has_room_for(8 * MIB));
    drop(reserved);
    assert_eq!(backlog.waiting(), 0);
    flow.sends(MIB);
    assert!(!Flow::new(&backlog).has_room_for(100 * KIB) && Flow::new(&backlog).has_room_for(KIB));
}

#[test]
fn a_session_that_owes_little_again_is_forgotten_and_may_be_listed_again() {
    let backlog = Backlog::new(MIB);
    let (flow, client) = debtor(&backlog, 100 * KIB);
    assert!(!flow.becomes_listed(), "it is listed");
    flow.took(100 * KIB);
    backlog.look(Instant::now());
    assert!(client.0.lock().is_none());
    flow.sends(100 * KIB);
    assert!(flow.becomes_listed());
}

#[test]
fn the_bytes_of_all_sessions_are_never_below_0() {
    const TIMES: usize = 1_000_000;
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    let begin = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        // Packets are sent while the connection writes those before them, with heads of frames that no one counted.
        scope.spawn(|| {
            begin.wait();
            (0..TIMES).for_each(|_| flow.sends(10));
        });
        scope.spawn(|| {
            begin.wait();
            (0..TIMES).for_each(|_| flow.took(11));
        });
        for _ in 0..TIMES {
            assert!(backlog.waiting() <= TIMES * 10, "the count went below 0");
        }
    });
    assert_eq!(backlog.waiting(), flow.owed());
}

#[test]
fn one_session_of_a_connection_ends_while_the_next_has_pending_acknowledgements() {
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    flow.keeps(10);
    flow.keeps(20);
    flow.keeps_less(10);
    assert!(flow.is_blocked());
    assert_eq!((backlog.waiting(), flow.owed()), (20, 20));
    flow.keeps_less(20);
    assert!(!flow.is_blocked());
    assert_eq!((backlog.waiting(), flow.owed()), (0, 0));
}

#[test]
fn a_debtor_whose_session_had_ended_already_is_closed_once_its_connection_carries_another() {
    let backlog = Backlog::new(MIB);
    // Closing it does nothing, as for a session that has left its namespace.
    let (flow, left) = debtor(&backlog, 2 * MIB);
    backlog.look(Instant::now());
    assert!(left.0.lock().take().is_some() && !flow.has_ended());
    drop(left);
    backlog.look(Instant::now());
    let next = Arc::<Client>::default();
    let weak: std::sync::Weak<Client> = Arc::downgrade(&next);
    flow.carries(weak);
    backlog.look(Instant::now());
    assert_eq!(*next.0.lock(), Some(Refusal::ProcessBacklog));
}
