//! Leaves: once, twice, too late, and the last of a room.

use rollcall_protocol::event::{Kind, Reason};

use crate::site::{Site, conns, join};

#[tokio::test]
async fn a_users_last_connection_says_so_and_the_others_do_not() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "ann", 1), join("c3", "bob", 1)]).await;
    let mut events = site.listen().await;
    assert_eq!(site.leave("c1", 2).await, Some(2));
    assert_eq!(site.leave("c2", 2).await, Some(1));
    let events = events.so_far().await;
    assert_eq!(events[0].gist(), (4, Kind::Leave, "c1", Some(Reason::Left), false));
    assert_eq!(events[1].gist(), (5, Kind::Leave, "c2", Some(Reason::Left), true));
    assert_eq!(conns(&site.snapshot().await.members), ["c3"]);
}

#[tokio::test]
async fn leaving_twice_is_one_leave() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    let mut events = site.listen().await;
    assert_eq!(site.leave("c1", 2).await, Some(1));
    assert_eq!(site.leave("c1", 2).await, None);
    assert_eq!(site.leave("nobody", 1).await, None);
    assert_eq!(events.only().await.gist(), (3, Kind::Leave, "c1", Some(Reason::Left), true));
}

#[tokio::test]
async fn a_leave_that_comes_after_a_later_join_removes_no_one() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 5)).await;
    let mut events = site.listen().await;
    assert_eq!(site.leave("c1", 4).await, None);
    assert!(events.so_far().await.is_empty());
    assert_eq!(conns(&site.snapshot().await.members), ["c1"]);
}

#[tokio::test]
async fn the_last_leave_takes_every_key_of_the_room_along() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "ann", 1), join("c3", "bob", 1)]).await;
    let mut events = site.listen().await;
    for (conn, remaining) in [("c2", 2), ("c3", 1), ("c1", 0)] {
        assert_eq!(site.leave(conn, 2).await, Some(remaining));
    }
    assert!(site.all_keys().await.is_empty());
    let seqs: Vec<_> = events.so_far().await.iter().map(|event| event.read().at.seq).collect();
    assert_eq!(seqs, [4, 5, 6]);
}
