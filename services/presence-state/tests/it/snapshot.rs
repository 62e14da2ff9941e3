//! Snapshots: everyone, where the room stands, and nothing at all for those who know it already.

use rollcall_presence_state::store::Read;
use rollcall_protocol::{Position, command::Join};

use crate::site::{Site, join, json};

#[tokio::test]
async fn a_room_that_does_not_exist_stands_nowhere() {
    let site = Site::open().await;
    let snapshot = site.snapshot().await;
    assert_eq!((snapshot.at, snapshot.members.len()), (Position::default(), 0));
}

#[tokio::test]
async fn a_room_that_stands_where_it_is_known_is_unchanged() {
    let site = Site::open().await;
    site.join(Join { state: json(r#"{"a":1}"#), ..join("c1", "ann", 1) }).await;
    let known = site.snapshot().await.at;
    let ask = async |at| site.store.snapshot(&site.span, &site.room, Some(at)).await.unwrap();
    assert!(matches!(ask(known).await, Read::Unchanged));
    let Position { generation, seq, token } = known;
    let others = [
        Position { seq: seq - 1, ..known },
        Position { generation: generation - 1, ..known },
        Position { token: token + 1, ..known },
        Position::default(),
    ];
    for other in others {
        let Read::Room(snapshot, _) = ask(other).await else { panic!("{other:?} is not {known:?}") };
        assert_eq!(snapshot.at, known);
    }
    site.leave("c1", 2).await;
    assert!(matches!(ask(known).await, Read::Room(room, _) if room.at.generation == 0), "a room that is gone is news");
}

#[tokio::test]
async fn members_of_a_gateway_that_is_gone_are_not_shown_to_newcomers() {
    let site = Site::open().await;
    let stray = Join { gateway: "presence-gateway-0000dead".into(), ..join("c1", "ann", 1) };
    site.join_together(&[stray, join("c2", "bob", 1)]).await;
    rollcall_testkit::until("the truce after the start is over", async || site.bus.truce().is_none().then_some(()))
        .await;
    let Read::Room(snapshot, gone) = site.store.snapshot(&site.span, &site.room, None).await.unwrap() else {
        panic!("nothing was known")
    };
    assert_eq!(crate::site::conns(&snapshot.members), ["c1", "c2"], "who asks has shown them; their leave is to come");
    assert_eq!(gone, ["0000dead"]);
    let third = join("c3", "cyd", 1);
    let joins = [(&third, rollcall_telemetry::propagation::TraceContext::default())];
    let joined = site.store.join(site.caller(), &site.room, &joins).await.unwrap();
    assert_eq!(
        (crate::site::conns(joined.joined.seen_by(0)), joined.gone),
        (vec!["c2", "c3"], vec!["0000dead".to_owned()])
    );
}
