//! Putting back a record that Redis lost, and one that it did not.

use fred::interfaces::KeysInterface as _;
use protocol::{command::Join, event::Kind};

use crate::site::{Site, beat, conns, join, json};

fn restore(conn: &str, op: u64, known_epoch: u64) -> Join {
    Join { known_epoch, restore: true, state: json(r#"{"kept":true}"#), ..join(conn, "ann", op) }
}

#[tokio::test]
async fn a_lost_record_comes_back_with_its_epoch() {
    let site = Site::open().await;
    let once = site.join(join("c1", "ann", 1)).await;
    let () = site.redis().del(site.keys().into_vec()).await.unwrap();
    let mut events = site.listen().await;
    let joined = site.join_together(&[restore("c1", 2, once.epoch)]).await;
    assert_eq!((joined.joins[0].epoch, joined.joins[0].op), (once.epoch, 2));
    assert_eq!(conns(joined.seen_by(0)), ["c1"]);
    let event = events.only().await;
    assert_eq!(event.gist(), (1, Kind::Restore, "c1", None, true));
    assert_eq!((event.read().epoch, event.read().state.get()), (once.epoch, r#"{"kept":true}"#));
}

#[tokio::test]
async fn an_evicted_record_comes_back_into_its_room() {
    let site = Site::open().await;
    let once = site.join(join("c1", "ann", 1)).await;
    let room = site.join_together(&[join("c2", "ann", 1)]).await;
    site.leave("c1", 2).await;
    let mut events = site.listen().await;
    let back = site.join_together(&[restore("c1", 3, once.epoch)]).await;
    assert_eq!((back.birth, back.joins[0].seq, back.joins[0].epoch), (room.birth, 4, once.epoch));
    assert_eq!(events.only().await.gist(), (4, Kind::Restore, "c1", None, false));
}

#[tokio::test]
async fn a_record_that_is_there_stays_as_it_is() {
    let site = Site::open().await;
    let once = site.join(Join { state: json(r#"{"mine":1}"#), ..join("c1", "ann", 1) }).await;
    let silent_since = site.silence("c1", 30_000).await;
    let mut events = site.listen().await;
    let joined = site.join_together(&[restore("c1", 2, once.epoch)]).await;
    assert_eq!((joined.joins[0].epoch, joined.joins[0].op), (once.epoch, 1));
    assert!(joined.joins[0].member.is_none());
    assert_eq!(joined.seen_by(0).next().unwrap().state.get(), r#"{"mine":1}"#);
    assert!(events.so_far().await.is_empty());
    assert!(site.last_seen("c1").await > Some(silent_since), "but it was heard of");
}

#[tokio::test]
async fn a_restore_after_a_later_change_is_overtaken() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.beat(protocol::command::Heartbeat { state: Some(json(r#"{"n":3}"#)), ..beat("c1", 3, 1) }).await;
    let late = site.join(restore("c1", 2, 1)).await;
    assert_eq!((late.epoch, late.op), (0, 3));
    assert_eq!(site.snapshot().await.members[0].state.get(), r#"{"n":3}"#);
}

#[tokio::test]
async fn a_repeated_restore_changes_nothing() {
    let site = Site::open().await;
    site.join(restore("c1", 2, 77)).await;
    let mut events = site.listen().await;
    let again = site.join(restore("c1", 2, 77)).await;
    assert_eq!((again.epoch, again.op, again.member.is_none()), (77, 2, true));
    assert!(events.so_far().await.is_empty());
}

#[tokio::test]
async fn restores_of_a_whole_room_share_one_call() {
    let site = Site::open().await;
    let joined = site.join_together(&[restore("c1", 4, 10), restore("c2", 2, 20), restore("c3", 9, 30)]).await;
    let epochs: Vec<_> = joined.joins.iter().map(|one| one.epoch).collect();
    assert_eq!(epochs, [10, 20, 30]);
    assert_eq!(conns(joined.seen_by(2)), ["c1", "c2", "c3"]);
}
