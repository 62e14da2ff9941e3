//! Joins: first and further connections of a user, joins made together, joining again.

use fred::interfaces::HashesInterface as _;
use protocol::{
    command::Join,
    event::{Kind, Reason},
};

use crate::site::{Site, TTL_MS, conns, join, json};

#[tokio::test]
async fn a_users_first_connection_says_so_and_the_next_does_not() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    let first = site.join(Join { state: json(r#"{"a":1}"#), ..join("c1", "ann", 1) }).await;
    let second = site.join(join("c2", "ann", 1)).await;
    let other = site.join(join("c3", "bob", 1)).await;
    assert_eq!([first.seq, second.seq, other.seq], [1, 2, 3]);
    let events = events.so_far().await;
    let gists: Vec<_> = events.iter().map(|event| event.gist()).collect();
    assert_eq!(
        gists,
        [(1, Kind::Join, "c1", None, true), (2, Kind::Join, "c2", None, false), (3, Kind::Join, "c3", None, true)]
    );
    let event = events[0].read();
    assert_eq!((event.user, event.state.get(), event.epoch), ("ann", r#"{"a":1}"#, first.epoch));
    assert_eq!(event.ts, first.member.unwrap().last_seen_ms);
    assert!(events.iter().all(|other| other.read().birth == event.birth));
}

#[tokio::test]
async fn the_joining_connection_is_in_its_own_snapshot() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let joined = site.join_together(&[join("c2", "bob", 1)]).await;
    assert_eq!(conns(joined.seen_by(0)), ["c1", "c2"]);
    let (own, snapshot) = (joined.seen_by(0).last().unwrap(), site.snapshot().await);
    assert_eq!((own.epoch, own.user_id.as_str(), own.state.get()), (joined.joins[0].epoch, "bob", "{}"));
    assert_eq!((snapshot.birth, snapshot.seq), (joined.birth, joined.joins[0].seq));
    assert_eq!(conns(&snapshot.members), ["c1", "c2"]);
}

#[tokio::test]
async fn joins_made_together_each_see_those_before_them() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    site.join(join("c0", "ann", 1)).await;
    let together = [join("c1", "bob", 1), join("c2", "bob", 1), join("c3", "cyd", 1)];
    let joined = site.join_together(&together).await;
    assert_eq!(joined.joins.iter().map(|one| one.seq).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(conns(joined.seen_by(0)), ["c0", "c1"]);
    assert_eq!(conns(joined.seen_by(1)), ["c0", "c1", "c2"]);
    assert_eq!(conns(joined.seen_by(2)), ["c0", "c1", "c2", "c3"]);
    let edges: Vec<_> = events.so_far().await.iter().map(|event| event.read().user_edge).collect();
    assert_eq!(edges, [true, true, false, true]);
}

#[tokio::test]
async fn a_repeated_join_changes_nothing() {
    let site = Site::open().await;
    let once = site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let joined = site.join_together(&[join("c1", "ann", 1)]).await;
    let again = &joined.joins[0];
    assert_eq!((again.seq, again.epoch, again.op), (once.seq, once.epoch, 1));
    assert!(again.member.is_none());
    assert_eq!(conns(joined.seen_by(0)), ["c1"], "once, not twice");
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn a_repeated_join_among_others_keeps_every_place() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let joined = site.join_together(&[join("c2", "bob", 1), join("c1", "ann", 1), join("c3", "cyd", 1)]).await;
    assert_eq!(joined.joins.iter().map(|one| one.seq).collect::<Vec<_>>(), [2, 2, 3]);
    assert_eq!(conns(joined.seen_by(1)), ["c1", "c2"]);
    assert_eq!(conns(joined.seen_by(2)), ["c1", "c2", "c3"]);
}

#[tokio::test]
async fn joining_again_is_an_update_with_a_higher_epoch() {
    let site = Site::open().await;
    let once = site.join(join("c1", "ann", 1)).await;
    let mut events = site.listen().await;
    let again = Join { known_epoch: once.epoch, state: json(r#"{"b":2}"#), ..join("c1", "ann", 2) };
    let joined = site.join_together(&[again]).await;
    assert!(joined.joins[0].epoch > once.epoch);
    assert_eq!(conns(joined.seen_by(0)), ["c1"]);
    assert_eq!(joined.seen_by(0).next().unwrap().state.get(), r#"{"b":2}"#);
    let event = events.only().await;
    assert_eq!(event.gist(), (2, Kind::Update, "c1", None, false));
    assert_eq!((event.read().epoch, event.read().state.get()), (joined.joins[0].epoch, r#"{"b":2}"#));
    // Still one connection of the user: the next leave is the last.
    assert_eq!(site.leave("c1", 3).await, Some(0));
    assert!(events.only().await.read().user_edge);
}

#[tokio::test]
async fn an_epoch_grows_beyond_what_the_gateway_knows() {
    let site = Site::open().await;
    let known_epoch = 1 << 52;
    let joined = site.join(Join { known_epoch, ..join("c1", "ann", 1) }).await;
    assert_eq!(joined.epoch, known_epoch + 1);
    let again = site.join(join("c1", "ann", 2)).await;
    assert_eq!(again.epoch, known_epoch + 2, "nor does the record's go back when the gateway forgot it");
    let now = site.bus.redis_now_ms();
    let fresh = site.join(join("c2", "ann", 1)).await;
    assert!(fresh.epoch.abs_diff(now) < 5_000, "without one it is the time: {} at {now}", fresh.epoch);
}

#[tokio::test]
async fn a_join_that_was_overtaken_changes_nothing() {
    let site = Site::open().await;
    let once = site.join(join("c1", "ann", 5)).await;
    let mut events = site.listen().await;
    let late = site.join(Join { state: json(r#"{"late":1}"#), ..join("c1", "ann", 4) }).await;
    assert_eq!((late.epoch, late.op), (0, 5));
    assert!(late.member.is_none());
    assert!(events.so_far().await.is_empty());
    assert_eq!(site.snapshot().await.members[0].epoch, once.epoch);
}

#[tokio::test]
async fn a_room_is_born_later_each_time() {
    let site = Site::open().await;
    let first = site.join_together(&[join("c1", "ann", 1)]).await;
    site.leave("c1", 2).await;
    let second = site.join_together(&[join("c1", "ann", 3)]).await;
    assert!(second.birth > first.birth);
    assert!((second.birth / 1_000).abs_diff(site.bus.redis_now_ms()) < 5_000, "microseconds: {}", second.birth);
    assert_eq!(second.joins[0].seq, 1);
}

#[tokio::test]
async fn a_connection_that_joins_as_another_user_leaves_as_the_first() {
    let site = Site::open().await;
    site.join(join("c0", "cyd", 1)).await;
    let mut events = site.listen().await;
    site.join(join("c1", "old", 1)).await;
    site.join(join("c1", "new", 3)).await;
    site.leave("c1", 2).await;
    let told: Vec<_> = events.so_far().await.iter().map(|e| (e.read().kind, e.read().user.to_owned())).collect();
    assert_eq!(told, [(Kind::Join, "old".into()), (Kind::Leave, "old".into()), (Kind::Join, "new".into())]);
    let users: Vec<String> = site.redis().hkeys(site.keys().users).await.unwrap();
    assert_eq!(users.len(), 2, "{users:?}");
    assert!(users.contains(&"new".to_owned()), "{users:?}");
}

#[tokio::test]
async fn a_connection_alone_that_joins_as_another_user_begins_the_room_anew() {
    let site = Site::open().await;
    site.join(join("c1", "old", 1)).await;
    let joined = site.join_together(&[join("c1", "new", 2), join("c2", "bob", 1)]).await;
    let snapshot = site.snapshot().await;
    assert_eq!((joined.birth, joined.joins[0].seq, joined.joins[1].seq), (snapshot.birth, 1, 2));
    assert_eq!(joined.seen_by(1).count(), 2);
}

#[tokio::test]
async fn who_joins_is_shown_nobody_that_has_outlived_its_ttl() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1), join("c3", "cyd", 1)]).await;
    for silent in ["c1", "c3"] {
        site.silence(silent, TTL_MS + 1).await;
    }
    site.silence("c2", TTL_MS - 1_000).await;
    let mut events = site.listen().await;
    let joined = site.join_together(&[join("c4", "ann", 1), join("c3", "cyd", 2)]).await;
    assert_eq!(conns(joined.seen_by(1)), ["c2", "c4", "c3"]);
    let events = events.so_far().await;
    let gists: Vec<_> = events.iter().map(|event| event.gist()).collect();
    let expected = [
        (4, Kind::Leave, "c1", Some(Reason::Expired), true),
        (5, Kind::Join, "c4", None, true),
        (6, Kind::Update, "c3", None, false),
    ];
    assert_eq!(gists, expected, "it left before it was joined for, and who joins is heard of");
}

#[tokio::test]
async fn who_is_put_back_evicts_nobody() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1)]).await;
    site.silence("c1", TTL_MS + 1).await;
    site.join(Join { restore: true, known_epoch: 7, ..join("c2", "bob", 1) }).await;
    assert_eq!(conns(&site.snapshot().await.members), ["c1", "c2"], "its gateway was away, as that of c1 may be");
}
