//! Heartbeats on the full way: fencing by epoch, changes of state, and everything that arrives twice or too late.

use presence_state::store::Beat;
use protocol::{command::Heartbeat, event::Kind};

use crate::site::{Site, beat, join, json};

fn patched(conn: &str, op: u64, base_op: u64, state: &str) -> Heartbeat {
    Heartbeat { state: Some(json(state)), ..beat(conn, op, base_op) }
}

#[tokio::test]
async fn a_plain_one_is_heard_and_changes_nothing() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let silent_since = site.silence("c1", 30_000).await;
    let mut events = site.listen().await;
    let answer = site.beat(beat("c1", 2, 1)).await;
    let expected = joined.epoch;
    assert!(matches!(answer, Beat::Taken { epoch, op: 1, changed: false } if epoch == expected), "{answer:?}");
    assert!(site.last_seen("c1").await > Some(silent_since));
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
    assert_eq!((event.state.get(), event.epoch, event.user), (r#"{"a":[],"b":{}}"#, joined.epoch, "ann"));
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
async fn a_stale_epoch_changes_and_refreshes_nothing() {
    let site = Site::open().await;
    let joined = site.join(join("c1", "ann", 1)).await;
    let silent_since = site.silence("c1", 30_000).await;
    let mut events = site.listen().await;
    let stale = Heartbeat { epoch: Some(joined.epoch - 1), ..patched("c1", 2, 1, r#"{"stale":1}"#) };
    let answer = site.beat(stale).await;
    assert!(matches!(answer, Beat::Stale { epoch } if epoch == joined.epoch), "{answer:?}");
    assert_eq!(site.last_seen("c1").await, Some(silent_since));
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
    assert!(events.so_far().await.is_empty(), "nobody else is concerned");
    let answer = site.beat(Heartbeat { epoch: Some(joined.epoch), ..beat("c1", 3, 2) }).await;
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
    let Beat::Conflict { epoch, op, state } = answer else { panic!("{answer:?}") };
    assert_eq!((epoch, op, state.get()), (joined.epoch, 2, r#"{"now":1}"#));
    assert!(events.so_far().await.is_empty());
    let merged = site.beat(patched("c1", 4, op, r#"{"now":1,"mine":1}"#)).await;
    assert!(matches!(merged, Beat::Taken { op: 4, changed: true, .. }), "{merged:?}");
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
    let adopt = || Heartbeat { epoch: Some(joined.epoch + 9), ..beat("c1", 2, 1) };
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
    assert_eq!(site.snapshot().await.birth, 0);
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
    let answers = site.store.heartbeats(&[(&first, &none), (&gone, &none), (&second, &none)]).await.unwrap();
    assert!(
        matches!(&answers[..], [Beat::Taken { changed: true, .. }, Beat::Missing, Beat::Taken { changed: true, .. }]),
        "{answers:?}"
    );
    let heard: Vec<_> = events.so_far().await.iter().map(|event| event.read().state.get().to_owned()).collect();
    assert_eq!(heard, [r#"{"n":1}"#, r#"{"n":2}"#]);
}
