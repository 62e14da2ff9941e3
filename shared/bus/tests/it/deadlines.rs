//! A request keeps its caller's deadline, wherever it waits.

use std::{sync::Arc, time::Duration};

use fred::interfaces::ClientLike as _;
use rollcall_bus::{DEADLINE, Role};
use rollcall_protocol::{Code, envelope::wall_clock_ms};
use rollcall_testkit::until;
use tokio::{task::yield_now, time::sleep};

use crate::{instance::Manner, site::Site};

const STATE: &str = "presence-state-00000001";

/// Redis freezes while a first request is being published: the next ones wait in the outbox.
#[tokio::test]
async fn a_request_given_up_in_the_outbox_is_not_carried_out() {
    let site = Arc::new(Site::open().await);
    let state = site.start(Role::State, STATE, Manner::Answers).await;
    site.call("before").await.unwrap();
    let call = |room: &'static str| {
        let site = Arc::clone(&site);
        tokio::spawn(async move { site.call(room).await })
    };
    let () = site.redis.custom(fred::cmd!("CLIENT"), vec!["PAUSE", "3000", "ALL"]).await.unwrap();
    let begun_ms = wall_clock_ms();
    let first = call("first");
    sleep(Duration::from_millis(100)).await;
    // One whose caller goes away, and two that are waited for until their time is over.
    let dropped = call("dropped");
    yield_now().await;
    let (second, third) = (call("second"), call("third"));
    sleep(Duration::from_millis(800)).await;
    dropped.abort();
    for given_up in [first, second, third] {
        assert_eq!(given_up.await.unwrap().unwrap_err().code, Code::Unavailable);
    }
    let given_up_ms = wall_clock_ms();
    assert!(given_up_ms - begun_ms < 2_500, "within two seconds of each call: {} ms", given_up_ms - begun_ms);

    until("Redis answers again", async || site.call("after").await.ok()).await;
    let sent = state.received.deadlines.lock().unwrap().clone();
    assert!(!sent.iter().any(|(room, _)| room == "dropped"), "it was sent although no one waited: {sent:?}");
    for (room, deadline_ms) in sent.iter().filter(|(room, _)| ["first", "second", "third"].contains(&room.as_str())) {
        assert!(*deadline_ms <= given_up_ms, "{room} may be carried out after its caller has given up: {sent:?}");
    }
}

/// The first attempt has taken time: the next one has what is left.
#[tokio::test]
async fn another_attempt_has_the_deadline_of_the_first() {
    let site = Site::open().await;
    let one = site.start(Role::State, STATE, Manner::Ignores).await;
    let two = site.start(Role::State, "presence-state-00000002", Manner::Answers).await;
    let room = site.room_of(&one, &[&one, &two]);
    let received = Arc::clone(&one.received);
    let begun_ms = wall_clock_ms();
    let dies = async {
        let taken = until("it took the request", async || received.deadlines.lock().unwrap().first().cloned()).await;
        sleep(Duration::from_millis(300)).await;
        site.kill(one).await;
        taken
    };
    let (answer, (_, first_ms)) = tokio::join!(site.call(&room), dies);
    answer.unwrap();
    assert!(first_ms - begun_ms <= DEADLINE.as_millis() as u64 + 100);
    let second = two.received.deadlines.lock().unwrap().clone();
    assert_eq!(second, [(room, first_ms)]);
}
