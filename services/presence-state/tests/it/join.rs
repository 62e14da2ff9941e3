//! Joins: first and further connections of a user, joins made together, joining again.

use std::collections::BTreeSet;

use fred::interfaces::HashesInterface as _;
use rollcall_protocol::{
    command::{Join, JoinResult},
    event::Kind,
};

use crate::site::{OTHER, Site, conns, epoch, info, info_text, join, json};

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
    assert_eq!((event.user, event.state.get(), event.epoch), ("ann", r#"{"a":1}"#, epoch(&first)));
    assert!(events.iter().all(|other| other.read().at.generation == event.at.generation));
}

#[tokio::test]
async fn the_joining_connection_is_in_its_own_snapshot() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let joined = site.join_together(&[join("c2", "bob", 1)]).await;
    assert_eq!(conns(joined.seen_by(0)), ["c1", "c2"]);
    let (own, snapshot) = (joined.seen_by(0).last().unwrap(), site.snapshot().await);
    assert_eq!((own.epoch, own.user.as_str(), own.state.get()), (epoch(&joined.joins[0]), "bob", "{}"));
    assert_eq!(snapshot.at, joined.position(0));
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
    assert_eq!((again.seq, again.token, again.result), (once.seq, once.token, once.result));
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
    let again = Join { known_epoch: epoch(&once), state: json(r#"{"b":2}"#), ..join("c1", "ann", 2) };
    let joined = site.join_together(&[again]).await;
    assert!(epoch(&joined.joins[0]) > epoch(&once));
    assert_eq!(conns(joined.seen_by(0)), ["c1"]);
    assert_eq!(joined.seen_by(0).next().unwrap().state.get(), r#"{"b":2}"#);
    let event = events.only().await;
    assert_eq!(event.gist(), (2, Kind::Update, "c1", None, false));
    assert_eq!((event.read().epoch, event.read().state.get()), (epoch(&joined.joins[0]), r#"{"b":2}"#));
    // Still one connection of the user: the next leave is the last.
    assert_eq!(site.leave("c1", 3).await, Some(0));
    assert!(events.only().await.read().user_edge);
}

#[tokio::test]
async fn an_info_is_shown_until_the_connection_joins_under_another_one() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    for (n, text) in [r#"{"name":"Ann"}"#, r#"{"name":"Ann B."}"#, ""].into_iter().enumerate() {
        let op = n as u64 + 1;
        let of = if text.is_empty() { None } else { info(text) };
        let joined = site.join_together(&[Join { info: of.clone(), ..join("c1", "ann", op) }]).await;
        assert_eq!(joined.seen_by(0).map(|member| &member.info).collect::<Vec<_>>(), [&of]);
        assert_eq!(site.snapshot().await.members[0].info, of);
        let event = events.only().await;
        let kind = if n == 0 { Kind::Join } else { Kind::Update };
        assert_eq!((event.read().kind, info_text(event.read().info), event.read().state.get()), (kind, text, "{}"));
    }
    site.join(Join { info: info(r#"{"name":"Ann"}"#), ..join("c1", "ann", 4) }).await;
    site.leave("c1", 5).await;
    let received = events.so_far().await;
    assert_eq!(info_text(received.last().unwrap().read().info), r#"{"name":"Ann"}"#, "in the leave as well");
}

#[tokio::test]
async fn an_epoch_grows_beyond_what_the_gateway_knows() {
    let site = Site::open().await;
    let known_epoch = 1 << 52;
    let joined = site.join(Join { known_epoch, ..join("c1", "ann", 1) }).await;
    assert_eq!(epoch(&joined), known_epoch + 1);
    let again = site.join(join("c1", "ann", 2)).await;
    assert_eq!(epoch(&again), known_epoch + 2, "nor does the record's go back when the gateway forgot it");
    let now = site.bus.redis_now_ms();
    let fresh = site.join(join("c2", "ann", 1)).await;
    assert!(epoch(&fresh).abs_diff(now) < 5_000, "without one it is the time: {} at {now}", epoch(&fresh));
}

#[tokio::test]
async fn a_join_that_was_overtaken_changes_nothing() {
    let site = Site::open().await;
    let once = site.join(join("c1", "ann", 5)).await;
    let mut events = site.listen().await;
    let late = site.join(Join { state: json(r#"{"late":1}"#), ..join("c1", "ann", 4) }).await;
    assert_eq!(late.result, JoinResult::Overtaken);
    assert!(late.member.is_none());
    assert!(events.so_far().await.is_empty());
    assert_eq!(site.snapshot().await.members[0].epoch, epoch(&once));
}

#[tokio::test]
async fn a_room_is_born_later_each_time() {
    let site = Site::open().await;
    let first = site.join_together(&[join("c1", "ann", 1)]).await;
    site.leave("c1", 2).await;
    let second = site.join_together(&[join("c1", "ann", 3)]).await;
    assert!(second.generation > first.generation);
    assert!(
        (second.generation / 1_000).abs_diff(site.bus.redis_now_ms()) < 5_000,
        "microseconds: {}",
        second.generation
    );
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
    let received: Vec<_> = events.so_far().await.iter().map(|e| (e.read().kind, e.read().user.to_owned())).collect();
    assert_eq!(received, [(Kind::Join, "old".into()), (Kind::Leave, "old".into()), (Kind::Join, "new".into())]);
    let fields: Vec<String> = site.redis().hkeys(&site.keys()[0]).await.unwrap();
    let users: BTreeSet<_> = fields.iter().filter(|field| field.starts_with("u:")).map(String::as_str).collect();
    assert_eq!(users, BTreeSet::from(["u:cyd", "u:new"]));
}

#[tokio::test]
async fn a_connection_alone_that_joins_as_another_user_stays_in_its_room() {
    let site = Site::open().await;
    let first = site.join_together(&[join("c1", "old", 1)]).await;
    let joined = site.join_together(&[join("c1", "new", 2), join("c2", "bob", 1)]).await;
    assert_eq!((joined.generation, joined.joins[0].seq, joined.joins[1].seq), (first.generation, 3, 4));
    assert_eq!(joined.seen_by(1).count(), 2);
    assert_eq!(site.snapshot().await.at, joined.position(1));
}

#[tokio::test]
async fn a_connection_that_comes_by_another_gateway_is_counted_there() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.join(Join { gateway: OTHER.into(), ..join("c1", "ann", 2) }).await;
    assert_eq!(site.evict(&[crate::site::GATEWAY]).await, 0);
    assert_eq!(site.evict(&[OTHER]).await, 1);
    assert!(site.all_keys().await.is_empty());
}

#[tokio::test]
async fn tokens_make_a_chain_that_no_other_history_has() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    site.leave("c1", 2).await;
    let before: String = site.redis().hget(&site.keys()[0], "head").await.unwrap();
    site.join(join("c3", "cyd", 1)).await;
    let received = events.so_far().await;
    let mut previous = 0;
    for event in received.iter().map(|event| event.read()) {
        assert_eq!(event.previous_token, previous);
        assert!(event.at.token > previous);
        previous = event.at.token;
    }
    // The store as it was: the next event has the same number and another token.
    let () = site.redis().hset(&site.keys()[0], ("head", before)).await.unwrap();
    site.join(join("c4", "dan", 1)).await;
    let forked = events.only().await;
    let last = received.last().unwrap();
    assert_eq!(forked.read().at.seq, last.read().at.seq);
    assert!(forked.read().at.token > last.read().at.token);
}

/// Redis was started again, or another node took over: what it lost may have had the next numbers.
#[tokio::test]
async fn a_room_goes_on_under_a_new_generation_where_the_history_is_another_one() {
    let site = Site::open().await;
    let first = site.join_together(&[join("c1", "ann", 1)]).await;
    let head: String = site.redis().hget(&site.keys()[0], "head").await.unwrap();
    let (rest, _) = head.rsplit_once(' ').unwrap();
    let () = site.redis().hset(&site.keys()[0], ("head", format!("{rest} 00000000"))).await.unwrap();
    let mut events = site.listen().await;
    let second = site.join_together(&[join("c2", "bob", 1)]).await;
    let event = events.only().await;
    assert!(event.read().at.generation > first.generation);
    assert_eq!((event.read().at.seq, event.read().previous_token), (1, 0));
    assert_eq!((second.position(0), conns(second.seen_by(0))), (event.read().at, vec!["c1", "c2"]));
}
