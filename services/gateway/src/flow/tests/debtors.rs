//! Who is closed for what it owes.

use std::{sync::Weak, time::Instant};

use parking_lot::Mutex;

use super::*;
use crate::flow::{backlog::Debtor, outward::MOST_WAITING};

/// A session whose memory is kept for a while after it was closed.
pub(super) struct Client {
    closed: Mutex<Option<Refusal>>,
    /// What ends when it is closed; nothing if it has left its namespace.
    flow: Weak<Flow>,
}

impl Client {
    fn begins(on: &Arc<Flow>, flow: Weak<Flow>) -> Arc<Self> {
        let client = Arc::new(Self { closed: Mutex::default(), flow });
        let debtor: Weak<Self> = Arc::downgrade(&client);
        on.carries(debtor);
        client
    }

    /// Why it was closed.
    pub(super) fn closed(&self) -> Option<Refusal> {
        *self.closed.lock()
    }
}

impl Debtor for Client {
    fn close(&self, refusal: Refusal) {
        *self.closed.lock() = Some(refusal);
        self.flow.upgrade().inspect(|flow| flow.end());
    }
}

pub(super) fn debtor(backlog: &Arc<Backlog>, bytes: usize) -> (Arc<Flow>, Arc<Client>) {
    let flow = Flow::new(backlog);
    let client = Client::begins(&flow, Arc::downgrade(&flow));
    flow.sends(bytes);
    flow.list();
    (flow, client)
}

#[test]
fn the_largest_debtors_are_closed_first_and_no_more_than_needed() {
    let backlog = Backlog::new(MIB);
    let debtors: Vec<_> = [100, 500, 300, 200, 1].map(|kib| debtor(&backlog, kib * KIB)).into();
    let closed = || debtors.iter().map(|(_, client)| client.closed().is_some()).collect::<Vec<_>>();
    backlog.look(Instant::now());
    assert_eq!(closed(), [false, true, false, false, false]);
    backlog.look(Instant::now());
    assert_eq!(closed(), [false, true, false, false, false], "its memory is not free yet");
    debtors[0].0.sends(600 * KIB);
    backlog.look(Instant::now());
    assert_eq!(closed(), [true, true, false, false, false]);
    assert_eq!(debtors[0].1.closed(), Some(Refusal::ProcessBacklog));
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
    assert!(over.1.closed().is_none());
    backlog.look(later(12));
    assert_eq!(over.1.closed(), Some(Refusal::SocketBacklog));
    assert!(within.1.closed().is_none() && slow.1.closed().is_none());
}

#[test]
fn a_session_that_owes_little_again_is_forgotten_and_may_be_listed_again() {
    let backlog = Backlog::new(MIB);
    let (flow, client) = debtor(&backlog, 100 * KIB);
    assert!(!flow.becomes_listed(), "it is listed");
    flow.took(100 * KIB);
    backlog.look(Instant::now());
    assert!(client.closed().is_none());
    flow.sends(100 * KIB);
    assert!(flow.becomes_listed());
}

#[test]
fn a_debtor_whose_session_had_ended_already_is_closed_once_its_connection_carries_another() {
    let backlog = Backlog::new(MIB);
    let flow = Flow::new(&backlog);
    let left = Client::begins(&flow, Weak::new());
    flow.sends(2 * MIB);
    flow.list();
    backlog.look(Instant::now());
    assert!(left.closed().is_some() && !flow.has_ended());
    drop(left);
    backlog.look(Instant::now());
    let next = Client::begins(&flow, Arc::downgrade(&flow));
    backlog.look(Instant::now());
    assert_eq!(next.closed(), Some(Refusal::ProcessBacklog));
}
