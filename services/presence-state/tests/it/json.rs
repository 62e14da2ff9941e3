//! A state is the client's text, an info that of a token; both survive to the letter: in the record, in snapshots, in events, in
//! conflicts.

use rollcall_presence_state::store::Beat;
use rollcall_protocol::command::{Heartbeat, Join, Restored};

use crate::site::{GATEWAY, Site, beat, info, info_text, join, json, restored};

const STATES: [&str; 13] = [
    "{}",
    r#"{"a":[],"o":{},"n":null,"t":true}"#,
    r#"{"n":9007199254740993}"#,
    r#"{"n":1e400,"m":-1E-400,"z":-0,"f":1.0}"#,
    r#"{"n":123456789012345678901234567890.123456789}"#,
    r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
    r#"{"__proto__":{"x":1},"constructor":1,"":0}"#,
    r#"{"日本":"\ud83d\ude00 😀 é \u0000 \n"}"#,
    r#"{"quote":"\"\\\/","percent":"%d %s %1"}"#,
    r#"{"deep":[[[[{"a":[{"b":[[]]}]}]]]]}"#,
    r#"{"same":1,"same":2}"#,
    "{ \"spaces\" :\t1 }",
    "{\"lines\":\r\n1,\n\n\"more\":2\n}",
];

#[tokio::test]
async fn a_joined_state_survives() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    for (n, state) in STATES.into_iter().enumerate() {
        let conn = format!("c{n}");
        let joined = site.join(Join { state: json(state), ..join(&conn, "ann", 1) }).await;
        assert_eq!(joined.member.unwrap().state.get(), state);
        assert_eq!(events.only().await.read().state.get(), state);
        let snapshot = site.snapshot().await;
        let stored = snapshot.members.iter().find(|member| member.conn.as_str() == conn).unwrap();
        assert_eq!(stored.state.get(), state);
        site.leave(&conn, 2).await;
        assert_eq!(events.only().await.read().state.get(), state, "also in the leave");
    }
}

#[tokio::test]
async fn a_changed_state_survives() {
    let site = Site::open().await;
    site.join(Join { state: json(r#"{"before":1}"#), ..join("c1", "ann", 1) }).await;
    let mut events = site.listen().await;
    for (n, state) in STATES.into_iter().enumerate() {
        let op = n as u64 + 2;
        let changed = || Heartbeat { state: Some(json(state)), ..beat("c1", op, op - 1) };
        let answer = site.beat(changed()).await;
        assert!(matches!(answer, Beat::Taken { changed: true, .. }), "{state}: {answer:?}");
        assert_eq!(events.only().await.read().state.get(), state);
        assert_eq!(site.snapshot().await.members[0].state.get(), state);
        let answer = site.beat(Heartbeat { op: op + 1_000, base_op: 0, ..changed() }).await;
        let Beat::Conflict { state: received, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(received.get(), state);
    }
}

#[tokio::test]
async fn an_info_survives_next_to_any_state() {
    let site = Site::open().await;
    let mut events = site.listen().await;
    for (n, state) in STATES.into_iter().enumerate() {
        let (conn, of) = (format!("c{n}"), info(state).unwrap());
        let joined = site.join(Join { info: Some(of.clone()), state: json(state), ..join(&conn, "ann", 1) }).await;
        assert_eq!(joined.member.unwrap().info.as_ref(), Some(&of));
        let event = events.only().await;
        assert_eq!((info_text(event.read().info), event.read().state.get()), (of.as_str(), state));
        site.leave(&conn, 2).await;
        assert_eq!(info_text(events.only().await.read().info), of.as_str());
        let member = Restored { info: Some(of.clone()), ..restored(&conn, "ann", 3, 7, state) };
        site.restore(GATEWAY, vec![member]).await;
        let event = events.only().await;
        assert_eq!((info_text(event.read().info), event.read().state.get()), (of.as_str(), state));
        let snapshot = site.snapshot().await;
        let stored = snapshot.members.iter().find(|member| member.conn.as_str() == conn).unwrap();
        assert_eq!((stored.info.as_ref(), stored.state.get()), (Some(&of), state));
    }
}

#[tokio::test]
async fn a_large_state_survives() {
    let site = Site::open().await;
    let state = format!(r#"{{"a":"{}"}}"#, "é".repeat(8_000));
    site.join(Join { state: json(&state), ..join("c1", "ann", 1) }).await;
    assert_eq!(site.snapshot().await.members[0].state.get(), state);
}
