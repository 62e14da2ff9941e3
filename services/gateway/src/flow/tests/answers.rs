//! Large answers wait for room, and large work for them.

use std::time::Instant;

use super::{debtors::debtor, *};

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
    assert_eq!(client.closed(), Some(Refusal::ProcessBacklog), "debts over half of the budget stand in its way");
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
