//! Heartbeats on the full way: fencing by epoch, changes of state, and everything that arrives twice or too late.

use rollcall_presence_state::store::Beat;
use rollcall_protocol::{
    Info,
    command::{Heartbeat, Join},
    event::Kind,
};

use crate::site::{Site, beat, epoch, info, info_text, join, json};

fn patched(conn: &str, op: u64, base_op: u64, state: &str) -> Heartbeat {
    Heartbeat { state: Some(json(state)), ..beat(conn, op, base_op) }
}

#[tokio::test]
async fn a_plain_one_changes_nothing() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let answer = site.beat(beat("c1", 2, 1)).await;
    let expected = epoch(&joined);
    assert!(matches!(answer, Beat::Taken { epoch, op: 1, changed: false } if epoch == expected), "{answer:?}");
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn a_new_state_is_an_update_with_all_of_it() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let answer = site.beat(patched("c1", 2, 1, r#"{"a":[],"b":{}}"#)).await;
    assert!(matches!(answer, Beat::Taken { op: 2, changed: true, .. }), "{answer:?}");
    let event = events.only().await;
    assert_eq!(event.gist(), (2, Kind::Update, "c1", None, false));
    let event = event.read();
    assert_eq!((event.state.get(), event.epoch, event.user), (r#"{"a":[],"b":{}}"#, epoch(&joined), "ann"));
}

#[tokio::test]
async fn the_same_state_is_no_change() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let answer = site.beat(patched("c1", 2, 1, "{}")).await;
    assert!(matches!(answer, Beat::Taken { op: 1, changed: false, .. }), "{answer:?}");
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn a_stale_epoch_changes_nothing() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let known = epoch(&joined);
    let stale = Heartbeat { epoch: Some(known - 1), ..patched("c1", 2, 1, r#"{"stale":1}"#) };
    let answer = site.beat(stale).await;
    assert!(matches!(answer, Beat::Stale { epoch } if epoch == known), "{answer:?}");
    assert_eq!(site.snapshot().await.members[0].state.get(), "{}");
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn a_higher_epoch_is_adopted_and_fences_from_then_on() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let higher = 1 << 52;
    let answer = site.beat(Heartbeat { epoch: Some(higher), ..beat("c1", 2, 1) }).await;
    assert!(matches!(answer, Beat::Taken { epoch, op: 2, changed: false } if epoch == higher), "{answer:?}");
    assert!(events.so_far().await.is_empty(), "no one else is concerned");
    let answer = site.beat(Heartbeat { epoch: Some(epoch(&joined)), ..beat("c1", 3, 2) }).await;
    assert!(matches!(answer, Beat::Stale { epoch } if epoch == higher), "{answer:?}");
    assert_eq!(site.snapshot().await.members[0].epoch, higher);
}

#[tokio::test]
async fn a_state_from_an_old_copy_is_a_conflict_that_tells_the_record() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    site.beat(patched("c1", 2, 1, r#"{"now":1}"#)).await;
    let mut events = site.listen().await;
    let answer = site.beat(patched("c1", 3, 1, r#"{"mine":1}"#)).await;
    let Beat::Conflict { epoch: received, op, state, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((received, op, state.get()), (epoch(&joined), 2, r#"{"now":1}"#));
    assert!(events.so_far().await.is_empty());
    let merged = site.beat(patched("c1", 4, op, r#"{"now":1,"mine":1}"#)).await;
    assert!(matches!(merged, Beat::Taken { op: 4, changed: true, .. }), "{merged:?}");
}

/// A patch was carried out and its answer was lost: what comes next must not hide that.
#[tokio::test]
async fn any_heartbeat_from_an_old_copy_is_a_conflict() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    site.beat(patched("c1", 2, 1, r#"{"a":1}"#)).await;
    let answer = site.beat(Heartbeat { epoch: Some(epoch(&joined) + 1), ..beat("c1", 3, 1) }).await;
    assert!(matches!(answer, Beat::Conflict { op: 2, .. }), "{answer:?}");
}

#[tokio::test]
async fn a_repeated_change_is_answered_as_the_first_time() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.beat(patched("c1", 2, 1, r#"{"a":1}"#)).await;
    let mut events = site.listen().await;
    let again = site.beat(patched("c1", 2, 1, r#"{"a":1}"#)).await;
    assert!(matches!(again, Beat::Taken { op: 2, changed: true, .. }), "{again:?}");
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn a_repeated_adoption_is_answered_as_the_first_time() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let adopt = || Heartbeat { epoch: Some(epoch(&joined) + 9), ..beat("c1", 2, 1) };
    for time in ["first", "second"] {
        let answer = site.beat(adopt()).await;
        assert!(matches!(answer, Beat::Taken { op: 2, changed: false, .. }), "{time}: {answer:?}");
    }
}

#[tokio::test]
async fn one_that_comes_after_a_later_one_changes_nothing() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.beat(patched("c1", 5, 1, r#"{"later":1}"#)).await;
    let mut events = site.listen().await;
    let answer = site.beat(patched("c1", 4, 1, r#"{"earlier":1}"#)).await;
    assert!(matches!(answer, Beat::Overtaken), "{answer:?}");
    assert_eq!(site.snapshot().await.members[0].state.get(), r#"{"later":1}"#);
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn without_a_record_it_is_missing_and_makes_none() {
    let site = Site::open().await;
    let answer = site.beat(patched("c1", 2, 1, r#"{"a":1}"#)).await;
    assert!(matches!(answer, Beat::Missing), "{answer:?}");
    assert_eq!(site.snapshot().await.at.generation, 0);
}

#[tokio::test]
async fn several_rooms_share_a_call_and_keep_apart() {
    let site = Site::open().await;
    let elsewhere = |conn: &str| Heartbeat { room: "kitchen".into(), ..patched(conn, 2, 1, r#"{"in":"kitchen"}"#) };
    site.join(join("c1", "ann", 1)).await;
    site.join(join("c2", "bob", 1)).await;
    let mut events = site.listen().await;
    let none = tracing::Span::none();
    let (first, gone, second) = (patched("c1", 2, 1, r#"{"n":1}"#), elsewhere("c1"), patched("c2", 2, 1, r#"{"n":2}"#));
    let answers = site.store.heartbeats(u64::MAX, &[(&first, &none), (&gone, &none), (&second, &none)]).await.unwrap();
    assert!(
        matches!(&answers[..], [Beat::Taken { changed: true, .. }, Beat::Missing, Beat::Taken { changed: true, .. }]),
        "{answers:?}"
    );
    let heard: Vec<_> = events.so_far().await.iter().map(|event| event.read().state.get().to_owned()).collect();
    assert_eq!(heard, [r#"{"n":1}"#, r#"{"n":2}"#]);
}

/// Redis came back with older data: the gateway is the only one that writes the record, and its copy is newer.
#[tokio::test]
async fn a_record_that_was_rolled_back_gives_way_to_the_gateways_copy() {
    let site = Site::open().await;
    let joined = epoch(&site.join(join("c1", "ann", 1)).await);
    let mut events = site.listen().await;
    let adopted = joined + 1_000;
    let ahead = Heartbeat { known_epoch: adopted, ..patched("c1", 9, 8, r#"{"n":9}"#) };
    let answer = site.beat(ahead).await;
    assert!(matches!(answer, Beat::Taken { epoch, op: 9, changed: true } if epoch == adopted), "{answer:?}");
    let event = events.only().await;
    assert_eq!((event.read().epoch, event.read().state.get()), (adopted, r#"{"n":9}"#));
    let stale = Heartbeat { known_epoch: adopted + 1, epoch: Some(adopted), ..beat("c1", 10, 9) };
    assert!(matches!(site.beat(stale).await, Beat::Stale { .. }), "the epoch that the gateway knows fences");
    let without_state = Heartbeat { epoch: Some(adopted + 9), known_epoch: adopted, ..beat("c1", 12, 11) };
    assert!(matches!(site.beat(without_state).await, Beat::Missing), "the whole state has to come");
}

#[tokio::test]
async fn an_info_stays_and_is_sent_with_each_change() {
    let site = Site::open().await;
    let of = || info(r#"{"name":"Ann"}"#);
    site.join(Join { info: of(), ..join("c1", "ann", 1) }).await;
    let mut events = site.listen().await;
    site.beat(Heartbeat { info: of(), ..patched("c1", 2, 1, r#"{"n":1}"#) }).await;
    site.beat(Heartbeat { epoch: Some(1 << 52), ..beat("c1", 3, 2) }).await;
    assert_eq!(info_text(events.only().await.read().info), r#"{"name":"Ann"}"#);
    assert_eq!(site.snapshot().await.members[0].info, of());
    let answer = site.beat(patched("c1", 4, 1, "{}")).await;
    let Beat::Conflict { info: received, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(received, of());
}

/// The member joined again under another info, and Redis lost that.
#[tokio::test]
async fn a_record_that_was_rolled_back_gets_back_its_info_too() {
    let site = Site::open().await;
    site.join(Join { info: info(r#"{"name":"old"}"#), ..join("c1", "ann", 1) }).await;
    let mut events = site.listen().await;
    let ahead = Heartbeat { info: info(r#"{"name":"new"}"#), ..patched("c1", 3, 2, "{}") };
    let answer = site.beat(ahead).await;
    assert!(matches!(answer, Beat::Taken { changed: true, .. }), "{answer:?}");
    assert_eq!(info_text(events.only().await.read().info), r#"{"name":"new"}"#);
    let stored = site.snapshot().await.members.remove(0);
    assert_eq!(stored.info.as_ref().map(Info::as_str), Some(r#"{"name":"new"}"#));
}

#[tokio::test]
async fn nothing_is_carried_out_after_its_caller_has_given_up() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let late = patched("c1", 2, 1, r#"{"late":1}"#);
    let before = rollcall_protocol::envelope::wall_clock_ms() - 5_000;
    let fault = site.store.heartbeats(before, &[(&late, &tracing::Span::none())]).await.unwrap_err();
    assert_eq!(fault.code, rollcall_protocol::Code::Unavailable);
    assert!(events.so_far().await.is_empty());
    let in_time = rollcall_protocol::envelope::wall_clock_ms() + 5_000;
    site.store.heartbeats(in_time, &[(&late, &tracing::Span::none())]).await.unwrap();
    assert_eq!(events.so_far().await.len(), 1);
}
