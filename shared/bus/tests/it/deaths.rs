//! Dead and hanging instances: failures are detected where possible, and time out otherwise.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollcall_bus::Role;
use rollcall_protocol::Code;
use rollcall_testkit::until;

use crate::{
    instance::Manner,
    site::{Site, answered_by},
};

const STATE_1: &str = "presence-state-00000001";
const STATE_2: &str = "presence-state-00000002";
/// Well under the deadline of a request.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn without_any_instance_a_call_is_refused_at_once() {
    let site = Site::open().await;
    let begun = Instant::now();
    assert_eq!(site.call("room").await.unwrap_err().code, Code::Unavailable);
    assert!(begun.elapsed() < AT_ONCE);
    assert!(site.gateway.bus.check_states().is_err());
}

#[tokio::test]
async fn live_instances_take_over_the_partitions_of_a_dead_one() {
    let site = Site::open().await;
    let one = site.start(Role::State, STATE_1, Manner::Answers).await;
    let two = site.start(Role::State, STATE_2, Manner::Answers).await;
    let room = site.room_of(&one, &[&one, &two]);
    site.kill(one).await;
    let begun = Instant::now();
    assert_eq!(answered_by(&site.call(&room).await.unwrap()), STATE_2);
    assert!(begun.elapsed() < AT_ONCE, "seen, not waited for: {:?}", begun.elapsed());
    assert_eq!(site.gateway.bus.view().peers(Role::State), [STATE_2.into()]);
}

#[tokio::test]
async fn a_newcomer_serves_when_the_only_known_instance_is_gone() {
    // Several times, for by chance the gateway may have noticed the newcomer by itself.
    let site = Site::open().await;
    let mut serving = site.start(Role::State, "presence-state-00000010", Manner::Answers).await;
    for n in 11..16 {
        let next = site.start_unknown(Role::State, &format!("presence-state-000000{n}"), Manner::Answers).await;
        site.kill(serving).await;
        let answer = site.call("room").await.unwrap();
        assert_eq!(answered_by(&answer), next.name().as_str());
        serving = next;
    }
}

#[tokio::test]
async fn requests_that_a_dead_instance_had_taken_are_sent_to_a_live_one() {
    let site = Site::open().await;
    let one = site.start(Role::State, STATE_1, Manner::Ignores).await;
    let two = site.start(Role::State, STATE_2, Manner::Answers).await;
    let room = site.room_of(&one, &[&one, &two]);
    let received = Arc::clone(&one.received);
    let waits = site.call(&room);
    let next = async {
        until("it took the request", async || received.requests.lock().unwrap().first().cloned()).await;
        site.kill(one).await;
        site.call(&room).await
    };
    let (first, second) = tokio::join!(waits, next);
    assert_eq!(answered_by(&first.unwrap()), STATE_2);
    assert_eq!(answered_by(&second.unwrap()), STATE_2);
}

#[tokio::test]
async fn requests_of_a_dead_instance_are_resent_without_other_traffic() {
    let site = Site::open().await;
    let one = site.start(Role::State, STATE_1, Manner::Ignores).await;
    let two = site.start(Role::State, STATE_2, Manner::Answers).await;
    let room = site.room_of(&one, &[&one, &two]);
    let received = Arc::clone(&one.received);
    let dies = async {
        until("it took the request", async || received.requests.lock().unwrap().first().cloned()).await;
        site.kill(one).await;
    };
    let (answer, ()) = tokio::join!(site.call(&room), dies);
    assert_eq!(answered_by(&answer.unwrap()), STATE_2);
}

#[tokio::test]
async fn when_the_last_one_dies_a_call_is_refused_at_once() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE_1, Manner::Answers).await;
    assert!(site.call("room").await.is_ok());
    site.kill(state).await;
    let begun = Instant::now();
    assert_eq!(site.call("room").await.unwrap_err().code, Code::Unavailable);
    assert!(begun.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn an_instance_that_receives_and_does_not_answer_is_a_timeout_within_two_seconds() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE_1, Manner::Ignores).await;
    let begun = Instant::now();
    assert_eq!(site.call("room").await.unwrap_err().code, Code::Timeout);
    assert!((AT_ONCE..Duration::from_secs(2)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(state.received.requests.lock().unwrap().len(), 1, "it may have happened, so it is not sent again");
}
