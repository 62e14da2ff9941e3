//! Who waits for a turn, and who is closed.

use tokio::time::timeout;

use super::*;
use crate::flow::{backlog::Backlog, pace::LARGE};

fn outlet() -> (Arc<Backlog>, Arc<Outlet>) {
    let backlog = Backlog::new(64 * 1024);
    let transports = Transports::new(Arc::default(), Arc::clone(&backlog));
    let flow = Flow::new(&backlog);
    (backlog, Outlet::new("c1".into(), Weak::new(), Sid::new(), transports, flow))
}

#[tokio::test]
async fn a_client_is_not_read_while_it_waits_for_its_turn_and_waits_no_more_when_it_is_gone() {
    let (backlog, outlet) = outlet();
    backlog.pace.charge(1 << 30);
    let mut turn = std::pin::pin!(outlet.turn_to_write(LARGE));
    assert!(timeout(FLUSH_EVERY, turn.as_mut()).await.is_err());
    assert!(!outlet.flow.is_readable() && outlet.turn_to_write(LARGE - 1).await.is_ok());
    outlet.end();
    assert!(timeout(FLUSH_EVERY, turn).await.unwrap().is_err());
    assert!(outlet.flow.is_readable());
}

#[tokio::test]
async fn a_client_is_not_read_while_its_write_waits_for_those_under_way() {
    let (backlog, outlet) = outlet();
    let others = backlog.pace.begin_write(1 << 20).await.unwrap();
    let mut mine = std::pin::pin!(outlet.begin_write(LARGE));
    assert!(timeout(FLUSH_EVERY, mine.as_mut()).await.is_err());
    assert!(!outlet.flow.is_readable());
    drop(others);
    assert!(mine.await.is_ok() && outlet.flow.is_readable());
}

#[tokio::test]
async fn what_a_client_sent_before_it_went_is_carried_out_if_nothing_waits() {
    let (_backlog, outlet) = outlet();
    outlet.end();
    assert!(outlet.turn_to_write(LARGE).await.is_ok() && outlet.begin_write(LARGE).await.is_ok());
}

#[tokio::test]
async fn a_client_that_owes_nothing_but_acknowledgements_is_closed_when_the_process_is_over_its_budget() {
    let (backlog, outlet) = outlet();
    outlet.keep(1, RawValue::from_string(format!("\"{}\"", "x".repeat(70_000))).unwrap());
    backlog.look(Instant::now());
    assert!(!outlet.is_open());
    assert_eq!(backlog.waiting(), 0);
}

#[tokio::test]
async fn an_answer_that_comes_after_the_end_of_its_session_is_not_kept() {
    let (backlog, outlet) = outlet();
    outlet.end();
    outlet.keep(1, RawValue::from_string("\"late\"".to_owned()).unwrap());
    assert_eq!(backlog.waiting(), 0);
    assert!(!outlet.flow.is_blocked());
}

#[tokio::test]
async fn a_session_that_ends_takes_nothing_from_the_next_one_of_its_connection() {
    let (backlog, first) = outlet();
    let answer = |text: &str| RawValue::from_string(format!("\"{text}\"")).unwrap();
    first.keep(1, answer("of the first"));
    let (transports, flow) = (Arc::clone(&first.transports), Arc::clone(&first.flow));
    let next = Outlet::new("c2".into(), Weak::new(), Sid::new(), transports, flow);
    next.keep(1, answer("of the next"));
    first.end();
    assert_eq!(backlog.waiting(), "'of the next'".len());
    assert!(next.flow.is_blocked());
    next.end();
    assert_eq!(backlog.waiting(), 0);
    assert!(!next.flow.is_blocked());
}
