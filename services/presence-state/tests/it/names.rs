//! Names that are awkward in keys, in hash tags and in the lines of a record.

use rollcall_protocol::event::{Kind, Reason};

use crate::site::{Site, join};

#[tokio::test]
async fn every_name_has_a_room_of_its_own() {
    let mut site = Site::open().await;
    let longest = "x".repeat(256);
    for name in ["a{b}", "}", "{", "{}", "%7D", "%", "日本", "../x", " ", "a:b", "*", longest.as_str()] {
        site.room = name.into();
        let mut events = site.listen().await;
        let joined = site.join_together(&[join("c1", "ann", 1)]).await;
        assert_eq!((joined.before.len(), joined.joins[0].seq), (0, 1), "{name} is new");
        let snapshot = site.snapshot().await;
        assert_eq!((snapshot.at.generation, snapshot.members.len()), (joined.generation, 1), "{name}");
        assert_eq!(events.only().await.gist(), (1, Kind::Join, "c1", None, true), "{name}");
    }
}

#[tokio::test]
async fn awkward_users_and_connections_are_told_apart() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    let names = ["a b", "-", "1 1", "日本", "%s", "\"", "[[", "a\\nb"];
    for (n, name) in names.into_iter().enumerate() {
        let seq = n as u64 + 1;
        site.join(join(name, name, 1)).await;
        let event = events.only().await;
        assert_eq!(event.gist(), (seq, Kind::Join, name, None, true));
        assert_eq!(event.read().user, name);
    }
    let members = site.snapshot().await.members;
    assert_eq!(members.len(), names.len());
    assert!(members.iter().all(|member| member.conn.as_str() == member.user.as_str()));
    for (n, name) in names.into_iter().enumerate() {
        assert_eq!(site.leave(name, 2).await, Some((names.len() - n - 1) as u64));
        let seq = (names.len() + n + 1) as u64;
        assert_eq!(events.only().await.gist(), (seq, Kind::Leave, name, Some(Reason::Left), true));
    }
    assert!(site.all_keys().await.is_empty());
}
