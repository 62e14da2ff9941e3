//! Putting back records that Redis lost or has older, and those that it has.

use fred::interfaces::KeysInterface as _;
use rollcall_protocol::{
    command::{Heartbeat, Join, Restored},
    event::Kind,
};

use crate::site::{GATEWAY, Site, beat, conns, epoch, info, info_text, join, json, restored};

const KEPT: &str = r#"{"kept":true}"#;

#[tokio::test]
async fn a_lost_record_comes_back_with_its_epoch_and_its_operation() {
    let site = Site::open().await;
    let once = epoch(&site.join(join("c1", "ann", 1)).await);
    let () = site.redis().del(site.keys().to_vec()).await.unwrap();
    let mut events = site.listen().await;
    assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", 2, once, KEPT)]).await, 1);
    let event = events.only().await;
    assert_eq!(event.gist(), (1, Kind::Restore, "c1", None, true));
    assert_eq!((event.read().epoch, event.read().op, event.read().state.get()), (once, 2, KEPT));
    let member = &site.snapshot().await.members[0];
    assert_eq!((member.epoch, member.op, member.state.get()), (once, 2, KEPT));
}

#[tokio::test]
async fn an_evicted_record_comes_back_into_its_room() {
    let site = Site::open().await;
    let once = epoch(&site.join(join("c1", "ann", 1)).await);
    let room = site.join_together(&[join("c2", "ann", 1)]).await;
    site.leave("c1", 2).await;
    let mut events = site.listen().await;
    site.restore(GATEWAY, vec![restored("c1", "ann", 3, once, KEPT)]).await;
    assert_eq!(events.only().await.gist(), (4, Kind::Restore, "c1", None, false));
    assert_eq!(site.snapshot().await.at.generation, room.generation);
}

#[tokio::test]
async fn a_record_that_stands_there_or_later_stays_as_it_is() {
    let site = Site::open().await;
    let once = epoch(&site.join(Join { state: json(r#"{"mine":1}"#), ..join("c1", "ann", 1) }).await);
    site.beat(Heartbeat { state: Some(json(r#"{"n":3}"#)), ..beat("c1", 3, 1) }).await;
    let mut events = site.listen().await;
    for op in [1, 2, 3] {
        assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", op, once, KEPT)]).await, 0);
    }
    assert!(events.so_far().await.is_empty());
    assert_eq!(site.snapshot().await.members[0].state.get(), r#"{"n":3}"#);
}

#[tokio::test]
async fn a_record_that_was_rolled_back_is_brought_up_to_date() {
    let site = Site::open().await;
    let once = epoch(&site.join(join("c1", "ann", 1)).await);
    let mut events = site.listen().await;
    assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", 5, once, KEPT)]).await, 1);
    assert_eq!(events.only().await.read().state.get(), KEPT);
    assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", 5, once + 9, KEPT)]).await, 1);
    assert_eq!(events.only().await.read().epoch, once + 9, "nor does its epoch stay behind");
    assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", 6, once, KEPT)]).await, 1);
    assert_eq!(site.snapshot().await.members[0].epoch, once + 9, "nor go back");
    assert_eq!(site.leave("c1", 7).await, Some(0));
    assert!(site.all_keys().await.is_empty());
}

#[tokio::test]
async fn a_record_comes_back_with_its_info() {
    let site = Site::open().await;
    let once = epoch(&site.join(join("c1", "ann", 1)).await);
    let mut events = site.listen().await;
    let of = info(r#"{"name":"Ann"}"#);
    let newer = Restored { info: of.clone(), ..restored("c1", "ann", 2, once, "{}") };
    assert_eq!(site.restore(GATEWAY, vec![newer]).await, 1);
    assert_eq!(info_text(events.only().await.read().info), r#"{"name":"Ann"}"#);
    assert_eq!(site.snapshot().await.members[0].info, of);
}

#[tokio::test]
async fn restores_of_a_whole_room_share_one_call() {
    let site = Site::open().await;
    let members = vec![
        restored("c1", "ann", 4, 10, "{}"),
        restored("c2", "ann", 2, 20, "{}"),
        restored("c3", "bob", 9, 30, "{}"),
    ];
    let mut events = site.listen().await;
    assert_eq!(site.restore(GATEWAY, members).await, 3);
    let edges: Vec<_> = events.so_far().await.iter().map(|event| event.read().user_edge).collect();
    assert_eq!(edges, [true, false, true]);
    assert_eq!(conns(&site.snapshot().await.members), ["c1", "c2", "c3"]);
}
