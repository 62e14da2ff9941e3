//! Calls and their answers, one by one and many together.

use std::sync::{Arc, atomic::Ordering};

use fred::{
    interfaces::{ClientLike as _, PubsubInterface as _},
    types::{ClusterHash, CustomCommand},
};
use rollcall_bus::Role;
use rollcall_protocol::Code;
use rollcall_telemetry::propagation::TraceContext;
use rollcall_testkit::until;
use tokio::task::JoinSet;

use crate::{
    instance::Manner,
    site::{Site, answered_by, names},
};

const STATE_1: &str = "presence-state-00000001";
const STATE_2: &str = "presence-state-00000002";

#[tokio::test]
async fn a_call_is_answered_by_the_instance_that_serves_its_key() {
    let site = Site::open().await;
    let one = site.start(Role::State, STATE_1, Manner::Answers).await;
    let two = site.start(Role::State, STATE_2, Manner::Answers).await;
    for serving in [&one, &two, &one] {
        let room = site.room_of(serving, &[&one, &two]);
        assert_eq!(answered_by(&site.call(&room).await.unwrap()), serving.name().as_str());
    }
    assert_eq!((one.received.requests.lock().unwrap().len(), two.received.requests.lock().unwrap().len()), (2, 1));
}

#[tokio::test]
async fn a_calls_trace_travels_along() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE_1, Manner::Answers).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    site.call_traced("traced", TraceContext::read(Some(traceparent), None)).await.unwrap();
    site.call("plain").await.unwrap();
    let requests = state.received.requests.lock().unwrap().clone();
    assert_eq!(requests, [("traced".to_owned(), Some(traceparent.to_owned())), ("plain".to_owned(), None)]);
}

#[tokio::test]
async fn many_calls_at_once_each_get_their_index_in_a_shared_answer() {
    let site = Arc::new(Site::open().await);
    let state = site.start(Role::State, STATE_1, Manner::AnswersTogether).await;
    let mut calls = JoinSet::new();
    for n in 0..500 {
        let site = Arc::clone(&site);
        calls.spawn(async move {
            let room = format!("room {n}");
            let answer = site.call(&room).await.unwrap();
            assert_eq!(names(&answer.outcome)[answer.index], room);
            names(&answer.outcome).len()
        });
    }
    let together = calls.join_all().await;
    assert!(together.iter().any(|others| *others > 1), "those that waited left together");
    assert_eq!(state.received.requests.lock().unwrap().len(), 500);
}

#[tokio::test]
async fn a_refusal_reaches_the_caller_as_a_fault() {
    let site = Site::open().await;
    let _state = site.start(Role::State, STATE_1, Manner::Refuses).await;
    assert_eq!(site.call("room").await.unwrap_err().code, Code::RoomConflict);
}

#[tokio::test]
async fn a_message_of_another_version_is_dropped() {
    let site = Site::open().await;
    let state = site.start(Role::State, STATE_1, Manner::Answers).await;
    let envelope = |version: u32, room: &str| {
        let body = format!(r#"{{"snapshot":{{"room":"{room}","known":null}}}}"#);
        format!(
            r#"{{"version":{version},"id":1,"kind":"request","sender":"x","reply_to":"prs:inbox:x","items":[{{"ids":[1],"deadline_ms":9,"body":{body}}}]}}"#
        )
    };
    let inbox = site.subjects.inbox(state.name());
    for text in [&envelope(3, "newer"), r#"{"version":7,"other":"shape"}"#, "no JSON", "{}", "", &envelope(2, "known")]
    {
        let subscribers: u64 = site.redis.spublish(&inbox, text).await.unwrap();
        assert_eq!(subscribers, 1, "{text}");
    }
    let known = until("the one that is known", async || state.received.requests.lock().unwrap().first().cloned()).await;
    assert_eq!(known.0, "known", "what came before it was dropped");
    assert!(site.call("room").await.is_ok(), "and the instance lives on");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_and_affects_no_other() {
    let site = Site::open().await;
    let _state = site.start(Role::State, STATE_1, Manner::AnswersAtLength).await;
    let (large, small) = tokio::join!(site.call("9000"), site.call("1"));
    assert_eq!(large.unwrap_err().code, Code::Overloaded);
    assert_eq!(answered_by(&small.unwrap()).len(), 1024);
}

#[tokio::test]
async fn many_large_answers_do_not_cut_off_the_callers_subscription() {
    let site = Arc::new(Site::open().await);
    let config = CustomCommand::new_static("CONFIG", ClusterHash::FirstKey, false);
    let limit = ["SET", "client-output-buffer-limit", "pubsub 8mb 8mb 60"];
    let () = site.redis.custom(config, limit.to_vec()).await.unwrap();
    let _state = site.start(Role::State, STATE_1, Manner::AnswersAtLength).await;
    let gaps = site.gateway.received.gaps.load(Ordering::SeqCst);
    let mut calls = JoinSet::new();
    // Together 10 MiB: over the limit in one message, and in parts not even with an asker that has read a quarter.
    for _ in 0..40 {
        let site = Arc::clone(&site);
        // On a busy machine an answer may come too late, which is not what this is about.
        let answered = async move || site.call("256").await.ok();
        calls.spawn(async move { answered_by(&until("an answer", answered).await).len() });
    }
    assert_eq!(calls.join_all().await, [256 * 1024; 40]);
    assert_eq!(site.gateway.received.gaps.load(Ordering::SeqCst), gaps, "it was cut off");
}
