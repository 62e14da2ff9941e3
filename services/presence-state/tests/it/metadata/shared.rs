//! Channels that share a script call: each is as if it had been asked alone.

use fred::{
    interfaces::{ClientLike as _, HashesInterface as _, KeysInterface as _},
    types::CustomCommand,
};
use rollcall_presence_state::store::Written;
use rollcall_protocol::{
    ChannelId, Code, Fault,
    command::metadata::{Act, Metadata, Record},
    event::metadata::MetadataEvent,
};
use tracing::Span;

use super::{change, item, items};
use crate::site::Site;

fn asked(room: &str, act: Act) -> Metadata {
    Metadata { channel: ChannelId { name: room.into(), kind: "T".into() }, act }
}

fn set(room: &str, conn: &str, op: u64, value: &str) -> Metadata {
    asked(room, Act::Set(change(conn, op, vec![item("k", Some(value), None)])))
}

fn update(room: &str, conn: &str, op: u64, value: &str) -> Metadata {
    asked(room, Act::Update(change(conn, op, vec![item("k", Some(value), None)])))
}

impl Site {
    async fn together(&self, asked: &[Metadata]) -> Vec<Result<Record, Fault>> {
        let none = Span::none();
        let asked: Vec<_> = asked.iter().map(|asked| (asked, &none)).collect();
        let mut results = Vec::new();
        while results.len() < asked.len() {
            results.extend(self.store.channels(u64::MAX, &asked[results.len()..]).await);
        }
        let record = |written| match written {
            Written::Done(record) => record,
            Written::Rejected(rejected) => panic!("{rejected:?}"),
        };
        results.into_iter().map(|result| result.map(record)).collect()
    }
}

/// Revisions and first values, in order.
fn received(texts: &[String]) -> Vec<(u64, &str)> {
    let events = texts.iter().map(|text| MetadataEvent::read(text).unwrap());
    events.map(|event| (event.major_revision, event.items[0].value.get())).collect()
}

#[tokio::test]
async fn one_channels_writes_keep_their_order_and_see_each_other() {
    let mut site = Site::open().await;
    site.room = "a".into();
    let mut events = site.listen().await;
    let asked = [
        set("a", "c1", 1, "1"),
        set("b", "c1", 1, "10"),
        update("a", "c2", 1, "2"),
        update("b", "c2", 1, "20"),
        update("a", "c1", 2, "3"),
        asked("a", Act::Get),
        update("a", "c1", 2, "3"),
    ];
    let records: Vec<_> = site.together(&asked).await.into_iter().map(Result::unwrap).collect();
    let born = records[0].major_revision;
    let seen: Vec<_> = records.iter().map(|record| (items(record)[0].1, items(record)[0].2)).collect();
    assert_eq!(seen, [("1", 1), ("10", 1), ("2", 2), ("20", 2), ("3", 3), ("3", 3), ("3", 3)]);
    assert!(records[4..].iter().all(|record| record.major_revision == born + 2));
    assert_eq!(received(&events.texts().await), [(born, "1"), (born + 1, "2"), (born + 2, "3")]);
}

#[tokio::test]
async fn channels_that_cannot_be_read_spoil_no_other_and_nothing_happens_twice() {
    let mut site = Site::open().await;
    site.room = "after".into();
    let rooms = ["before", "wrong type", "broken item", "broken revision", "after"];
    let before = site.together(&rooms.map(|room| set(room, "c", 1, "1"))).await;
    assert!(before.iter().all(Result::is_ok));
    let redis = site.redis();
    let base = |room: &str| site.bus.subjects().partition(rollcall_protocol::RoomId::from(room).partition());
    let meta = |room: &str| rollcall_keyspace::meta(&base(room), &asked(room, Act::Get).channel);
    let () = redis.set(meta("wrong type"), "no hash", None, None, false).await.unwrap();
    let () = redis.hset(meta("broken item"), ("k", "broken")).await.unwrap();
    let () = redis
        .hset(rollcall_keyspace::revisions(&base("broken revision"), &"broken revision".into()), ("T", "broken"))
        .await
        .unwrap();
    let mut events = site.listen().await;
    let answers = site.together(&rooms.map(|room| update(room, "c", 2, "2"))).await;
    let codes = answers.iter().map(|answer| answer.as_ref().map(|record| items(record)[0].2).map_err(|f| f.code));
    let codes: Vec<_> = codes.collect();
    let broken = Err(Code::Internal);
    assert_eq!(codes, [Ok(2), broken, broken, broken, Ok(2)]);
    assert_eq!(received(&events.texts().await).len(), 1);
}

async fn script_calls(site: &Site) -> u64 {
    let stats: String =
        site.redis().custom(CustomCommand::new_static("INFO", None, false), vec!["commandstats"]).await.unwrap();
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}

#[tokio::test]
async fn long_answers_take_several_calls_and_each_write_happens_once() {
    let site = Site::open().await;
    let long = format!("\"{}\"", "x".repeat(16 * 1024 - 2));
    let full = |room: usize| {
        let items = (0..15).map(|n| item(&n.to_string(), Some(&long), None)).collect();
        asked(&room.to_string(), Act::Set(change("c", 1, items)))
    };
    let calls_before = script_calls(&site).await;
    let answers = site.together(&(0..12).map(full).collect::<Vec<_>>()).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|record| record.items.len() == 15)));
    assert!(script_calls(&site).await - calls_before > 2);
    let updates = (0..12).map(|room: usize| {
        asked(&room.to_string(), Act::Update(change("c", 2, vec![item("7", Some(&room.to_string()), None)])))
    });
    let answers = site.together(&updates.collect::<Vec<_>>()).await;
    for (room, answer) in answers.into_iter().enumerate() {
        let record = answer.unwrap();
        assert!(items(&record).contains(&("7", room.to_string().as_str(), 2)), "{room}");
    }
}
