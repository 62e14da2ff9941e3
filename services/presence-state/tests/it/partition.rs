//! A partition's index, and keys of it that are lost one by one.

use fred::interfaces::{HashesInterface as _, KeysInterface as _, SetsInterface as _};
use rollcall_protocol::command::{Audit, Heartbeat};

use crate::site::{GATEWAY, OTHER, Site, beat, conns, epoch, join, json, restored};

async fn rooms_of(site: &Site, gateway: &str) -> Vec<String> {
    site.redis().smembers(rollcall_keyspace::rooms_of(&site.base(), &gateway.into())).await.unwrap()
}

#[tokio::test]
async fn the_index_says_who_has_something_where() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    site.join(rollcall_protocol::command::Join { gateway: OTHER.into(), ..join("c2", "bob", 1) }).await;
    assert_eq!(
        (rooms_of(&site, GATEWAY).await, rooms_of(&site, OTHER).await),
        (vec!["lobby".into()], vec!["lobby".into()])
    );
    let mut gateways: Vec<String> = site.redis().smembers(rollcall_keyspace::gateways(&site.base())).await.unwrap();
    gateways.sort();
    assert_eq!(gateways, ["0000000a", "0000000b"]);
    site.leave("c1", 2).await;
    assert!(rooms_of(&site, GATEWAY).await.is_empty());
    let rooms: Vec<String> = site.redis().smembers(rollcall_keyspace::rooms(&site.base())).await.unwrap();
    assert_eq!(rooms, ["lobby"]);
    site.leave("c2", 2).await;
    assert!(site.all_keys().await.is_empty(), "{:?}", site.all_keys().await);
}

#[tokio::test]
async fn the_room_knows_its_sizes() {
    let site = Site::open().await;
    site.join_together(&[join("c1", "ann", 1), join("c2", "ann", 1), join("c3", "bob", 1)]).await;
    let head = async || -> Vec<u64> {
        let head: String = site.redis().hget(&site.keys()[0], "head").await.unwrap();
        head.split(' ').take(5).map(|number| number.parse().unwrap()).collect()
    };
    let before = head().await;
    assert_eq!((before[1], before[4]), (3, 2), "{before:?}");
    site.beat(Heartbeat { state: Some(json(r#"{"n":1}"#)), ..beat("c1", 2, 1) }).await;
    assert_eq!(head().await[3], before[3] + 5);
    site.leave("c1", 3).await;
    site.leave("c3", 2).await;
    let after = head().await;
    assert_eq!((after[1], after[4]), (6, 1), "{after:?}");
    assert_eq!(after[3], before[3] / 3, "one of three that were equally large");
    let members: u64 = site.redis().hget(&site.keys()[0], "g:0000000a").await.unwrap();
    assert_eq!(members, 1);
}

/// Whichever key is lost, gateways put their records back and the room starts over.
#[tokio::test]
async fn a_room_that_lost_one_of_its_keys_starts_over() {
    for lost in 0..2 {
        let site = Site::open().await;
        let joined = site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
        let () = site.redis().del(&site.keys()[lost]).await.unwrap();
        assert!(site.snapshot().await.members.is_empty());
        let beat = site.beat(Heartbeat { state: Some(json(r#"{"n":1}"#)), ..beat("c1", 2, 1) }).await;
        assert!(matches!(beat, rollcall_presence_state::store::Beat::Missing), "{beat:?}");
        let members = ["c1", "c2"].map(|conn| restored(conn, conn, 1, epoch(&joined.joins[0]), "{}"));
        assert_eq!(site.restore(GATEWAY, members.to_vec()).await, 2);
        let snapshot = site.snapshot().await;
        assert!(snapshot.at.generation > joined.generation);
        assert_eq!(conns(&snapshot.members), ["c1", "c2"]);
        assert_eq!(site.leave("c1", 3).await, Some(1));
        assert_eq!(site.leave("c2", 3).await, Some(0));
        assert!(site.all_keys().await.is_empty(), "{:?}", site.all_keys().await);
    }
}

#[tokio::test]
async fn an_audit_mends_an_index_that_was_lost() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let () = site.redis().del(rollcall_keyspace::rooms_of(&site.base(), &GATEWAY.into())).await.unwrap();
    let () = site.redis().del(rollcall_keyspace::gateways(&site.base())).await.unwrap();
    let () = site.redis().del(rollcall_keyspace::rooms(&site.base())).await.unwrap();
    let partition = site.room.partition();
    let rooms = vec![(site.room.clone(), 1)];
    let audit = Audit { partition, gateway: GATEWAY.into(), rooms, strays_before_ms: 1 };
    assert!(site.store.audit(site.caller(), &audit).await.unwrap().differing.is_empty());
    let rooms: Vec<String> = site.redis().smembers(rollcall_keyspace::rooms(&site.base())).await.unwrap();
    assert_eq!(rooms, [site.room.as_str()]);
    assert_eq!(site.reap(&[GATEWAY]).await.evicted, 1);
}
