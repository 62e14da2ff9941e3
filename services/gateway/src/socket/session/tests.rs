use std::sync::{Arc, Weak};

use rollcall_protocol::client::{HeartbeatAnswer, Request};
use rollcall_telemetry::{metrics::Operation, propagation::TraceContext};
use serde_json::value::RawValue;
use socketioxide::socket::Sid;
use tracing::Span;

use super::*;
use crate::{
    count::Count,
    flow::{Flow, backlog::Backlog},
    http::transports::Transports,
    socket::{ack::Ack, outlet::Outlet},
};

fn flow() -> Arc<Flow> {
    Flow::new(&Backlog::new(0))
}

fn session() -> (Session, Count) {
    let count = Count::default();
    (Session::new(count.one_more(), flow()), count)
}

fn state() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap()
}

fn info(name: &str) -> Option<Info> {
    serde_json::from_str(&format!(r#"{{"name":"{name}"}}"#)).unwrap()
}

/// Whether a worker has to be started; `None` if the queue is full.
fn push(session: &Session, request: Request) -> Option<bool> {
    let outlet =
        Outlet::new("c".into(), Weak::new(), Sid::new(), Transports::new(Arc::default(), Backlog::new(0)), flow());
    session.push_event(request, Ack::new(outlet, None, Span::none(), Operation::Leave)).ok()
}

fn join() -> Request {
    Request::Join { room: "room".into(), user: Some("ann".into()), state: state() }
}

fn member(session: &Session, epoch: u64, base_op: u64) {
    let (room, user, info, state) = ("room".into(), "ann".into(), info("old"), state());
    let own = Membership { room, user, epoch, info, state, base_op, joined: true };
    session.set_membership(Some(own));
}

fn beat(session: &Session, epoch: Option<u64>) -> Option<HeartbeatAnswer> {
    session.plain_heartbeat(epoch, || true, |_| ()).map(Result::unwrap)
}

#[test]
fn a_full_queue_takes_one_more_join_and_operations_of_the_gateway() {
    let (session, _) = session();
    assert_eq!(push(&session, Request::Leave), Some(true), "the first one starts a worker");
    for _ in 1..QUEUE {
        assert_eq!(push(&session, Request::Leave), Some(false));
    }
    assert_eq!(push(&session, Request::Leave), None);
    assert_eq!(push(&session, join()), Some(false));
    assert_eq!(push(&session, join()), None, "but no second one");
    assert!(!session.push(Op::Closed(TraceContext::default())));
    let ops: Vec<_> = std::iter::from_fn(|| session.next()).collect();
    assert_eq!(ops.len(), QUEUE + 2);
    assert!(ops[QUEUE].is_join() && matches!(ops[QUEUE + 1], Op::Closed(_)), "in order");
    assert!(session.is_idle());
    assert_eq!(push(&session, join()), Some(true));
}

#[test]
fn a_session_counts_until_its_end_is_carried_out_or_it_is_dropped() {
    let (ended, count) = session();
    let guard = ended.end();
    assert_eq!(count.get(), 1);
    drop(guard);
    assert_eq!(count.get(), 0);
    drop(Session::new(count.one_more(), flow()));
    assert_eq!(count.get(), 0);
}

#[test]
fn only_a_member_expires_and_once_at_a_time() {
    let (session, _) = session();
    assert!(!session.push_expiry() && session.is_idle(), "no member");
    member(&session, 1, 1);
    assert!(session.push_expiry());
    assert!(!session.push_expiry(), "one waits already");
    assert!(matches!(session.next(), Some(Op::Expire)) && session.next().is_none());
    assert!(session.expire() && !session.expire());
    assert!(!session.push_expiry() && session.is_idle(), "it has expired");
    assert!(!session.is_member_of(&"room".into()) && session.record(&"c".into(), &"room".into()).is_none());
    assert!(beat(&session, None).is_none(), "its heartbeat goes to presence-state");
    assert!(session.evict(9).is_none());
    assert!(!session.is_back() && session.is_member_of(&"room".into()));
}

#[test]
fn a_plain_heartbeat_is_answered_from_the_session() {
    let (session, _) = session();
    assert_eq!(session.plain_heartbeat(None, || true, |_| ()).unwrap().unwrap_err().code, Code::NotJoined);
    member(&session, 7, 1);
    assert!(beat(&session, Some(7)).is_some_and(|answer| answer.ok && !answer.stale && answer.epoch == 7));
    assert!(beat(&session, Some(6)).is_some_and(|answer| answer.stale && answer.epoch == 7));
    assert!(beat(&session, Some(8)).is_none());
    let unsure = session.plain_heartbeat(None, || false, |_| ()).unwrap();
    assert_eq!(unsure.unwrap_err().code, Code::Unavailable);
}

#[test]
fn what_was_evicted_and_restored_is_reported_once() {
    let (session, _) = session();
    member(&session, 7, 5);
    assert!(session.evict(4).is_none(), "it was restored since");
    let (room, taken) = session.evict(5).unwrap();
    assert!(room == "room".into() && taken.own == Some(room) && taken.op == 1);
    assert!(beat(&session, None).is_none(), "it is being restored");
    session.restored(false);
    assert!(beat(&session, None).is_some_and(|answer| answer.rejoined));
    assert!(beat(&session, None).is_some_and(|answer| !answer.rejoined));
    session.restored(false);
    assert!(!session.is_back(), "the record was there");
    session.restored(true);
    assert!(session.is_back());
}

#[test]
fn the_highest_epoch_outlives_the_membership_and_operations_count_up() {
    let (session, _) = session();
    member(&session, 7, 1);
    member(&session, 3, 2);
    session.set_membership(None);
    assert_eq!(session.highest_epoch(), 7);
    assert_eq!([session.next_op_number(), session.take_locks().op, session.next_op_number()], [1, 2, 3]);
}

/// Its room sends members the new epoch all the same, so it must not go back when the record is restored.
#[test]
fn a_record_whose_answer_was_lost_is_taken_from_the_room() {
    let (session, _) = session();
    member(&session, 7, 3);
    session.recorded(8, 4, info("new").as_ref(), r#"{"n":1}"#);
    assert_eq!(beat(&session, None).map(|answer| answer.epoch), Some(7), "its answer is under way");
    session.was_not_answered(Unanswered { op: 4, raises_epoch: true });
    assert!(beat(&session, None).is_none(), "Redis has to be asked");
    session.recorded(7, 3, info("old").as_ref(), "{}");
    assert!(beat(&session, None).is_none(), "that was before");
    session.recorded(8, 4, info("new").as_ref(), r#"{"n":1}"#);
    assert_eq!(beat(&session, None).map(|answer| answer.epoch), Some(8));
    let record = session.record(&"c".into(), &"room".into()).unwrap();
    assert_eq!((record.epoch, record.op, record.state.get()), (8, 4, r#"{"n":1}"#));
    assert_eq!(record.info, info("new"));
    session.was_not_answered(Unanswered { op: 5, raises_epoch: false });
    assert!(beat(&session, None).is_some(), "a patch raises no epoch");
    session.was_not_answered(Unanswered { op: 6, raises_epoch: true });
    member(&session, 8, 7);
    assert!(beat(&session, None).is_some(), "a later answer says what the record is");
}
