//! Metadata of channels: what each write answers, stores and publishes, once and twice.

mod model;
mod shared;

use crate::site::{Site, TTL_MS, join, json};
use fred::interfaces::{HashesInterface as _, KeysInterface as _};
use rollcall_presence_state::store::Written;
use rollcall_protocol::{
    ChannelId, Code,
    command::metadata::{Act, Change, ItemChange, Metadata, Record, Rejection, WriteOptions},
    event::metadata::{MetadataEvent, Operation},
};

pub(crate) fn channel(site: &Site, kind: &str) -> ChannelId {
    ChannelId { name: site.room.clone(), kind: kind.into() }
}

pub(crate) fn item(key: &str, value: Option<&str>, revision: Option<u64>) -> ItemChange {
    ItemChange { key: key.into(), value: value.map(json), revision }
}

pub(crate) fn change(conn: &str, op: u64, items: Vec<ItemChange>) -> Change {
    Change { conn: conn.into(), op, author: Some("ann".into()), items, options: WriteOptions::default() }
}

impl Site {
    pub(crate) async fn write(&self, kind: &str, act: &Act) -> Written {
        let asked = Metadata { channel: channel(self, kind), act: act.clone() };
        self.store.write_metadata(self.caller(), &asked).await.unwrap()
    }

    async fn written(&self, kind: &str, act: &Act) -> Record {
        match self.write(kind, act).await {
            Written::Done(record) => record,
            Written::Rejected(rejected) => panic!("{rejected:?}"),
        }
    }

    async fn rejected(&self, kind: &str, act: &Act) -> Rejection {
        match self.write(kind, act).await {
            Written::Done(record) => panic!("{record:?}"),
            Written::Rejected(rejected) => rejected,
        }
    }

    pub(crate) async fn record(&self, kind: &str) -> Record {
        self.store.metadata(self.caller(), &channel(self, kind)).await.unwrap()
    }
}

/// Keys, values and revisions, in the order of the keys.
pub(crate) fn items(record: &Record) -> Vec<(&str, &str, u64)> {
    let mut items: Vec<_> =
        record.items.iter().map(|item| (item.key.as_str(), item.value.get(), item.revision)).collect();
    items.sort_unstable();
    items
}

#[tokio::test]
async fn a_write_that_is_sent_again_is_answered_again_and_sent_once() {
    let site = Site::open().await;
    let set = Act::Set(change("c", 1, vec![item("k", Some("[1, 2]"), None), item("none", None, Some(7))]));
    let first = site.written("T", &set).await;
    assert_eq!(items(&first), [("k", "[1, 2]", 1), ("none", "\"\"", 7)]);
    let mut events = site.listen().await;
    let update = Act::Update(change("c", 2, vec![item("k", Some("null"), None)]));
    let second = site.written("T", &update).await;
    let again = site.written("T", &update).await;
    assert_eq!((second.major_revision, again.major_revision), (first.major_revision + 1, first.major_revision + 1));
    assert_eq!(items(&again), [("k", "null", 2), ("none", "\"\"", 7)]);
    assert_eq!(site.rejected("T", &set).await, Rejection::Overtaken);
    let received = events.texts().await;
    assert_eq!(received.len(), 1, "{received:?}");
    let event = MetadataEvent::read(&received[0]).unwrap();
    assert_eq!((event.operation, event.major_revision), (Operation::Update, second.major_revision));
    assert_eq!((event.kind, event.author, event.items.len()), ("T", Some("ann"), 1));
    assert_eq!((event.items[0].key, event.items[0].value.get(), event.items[0].revision), ("k", "null", 2));
}

#[tokio::test]
async fn what_keeps_a_write_from_happening_is_said_and_nothing_changes() {
    let site = Site::open().await;
    let absent = Act::Update(change("c", 1, vec![item("k", Some("1"), None)]));
    assert_eq!(site.rejected("T", &absent).await, Rejection::Absent { key: None });
    let before = site.written("T", &Act::Set(change("c", 2, vec![item("k", Some("1"), None)]))).await;
    let mut events = site.listen().await;
    let unknown = vec![item("k", Some("2"), None), item("unknown", Some("2"), None)];
    let absent = site.rejected("T", &Act::Update(change("c", 3, unknown))).await;
    assert_eq!(absent, Rejection::Absent { key: Some("unknown".into()) });
    let old = site.rejected("T", &Act::Update(change("c", 4, vec![item("k", Some("2"), Some(9))]))).await;
    assert_eq!(old, Rejection::Conflict { key: Some("k".into()), expected: 9, actual: 1 });
    let mut late = change("c", 5, vec![item("k", Some("2"), None)]);
    late.options.major_revision = Some(0);
    for act in [Act::Set(late.clone()), Act::Update(late.clone()), Act::Remove(late)] {
        let conflict = Rejection::Conflict { key: None, expected: 0, actual: before.major_revision };
        assert_eq!(site.rejected("T", &act).await, conflict);
    }
    let large: Vec<_> =
        (0..17).map(|n| item(&n.to_string(), Some(&format!("\"{}\"", "x".repeat(16 * 1024 - 2))), None)).collect();
    assert_eq!(site.rejected("T", &Act::Set(change("c", 6, large))).await, Rejection::TooLarge);
    for (op, none) in [(7, vec![item("unknown", None, None)]), (8, Vec::new())] {
        let nothing = site.written("T", &Act::Remove(change("c", op, none))).await;
        assert_eq!(nothing.major_revision, before.major_revision);
    }
    assert_eq!(items(&site.record("T").await), [("k", "1", 1)]);
    assert_eq!(site.record("other").await.major_revision, 0);
    assert!(events.texts().await.is_empty());
}

#[tokio::test]
async fn who_and_when_are_recorded_and_stay_until_a_writer_records_anew_or_replaces_the_item() {
    let site = Site::open().await;
    let mut noted = change("c", 1, vec![item("k", Some("1"), None)]);
    noted.options = WriteOptions { add_timestamp: true, add_user_id: true, ..WriteOptions::default() };
    let record = site.written("T", &Act::Set(noted)).await;
    let first = &record.items[0];
    assert_eq!((first.author.as_ref().unwrap().as_str(), first.updated), ("ann", Some(record.timestamp)));
    let record = site.written("T", &Act::Update(change("c", 2, vec![item("k", None, None)]))).await;
    let second = &record.items[0];
    assert_eq!((second.value.get(), second.revision), ("1", 2));
    assert_eq!((second.author.clone(), second.updated), (first.author.clone(), first.updated));
    let mut other = Change { author: Some("bob".into()), ..change("c", 3, vec![item("k", Some("2"), None)]) };
    other.options.add_user_id = true;
    let record = site.written("T", &Act::Update(other)).await;
    let third = &record.items[0];
    assert_eq!((third.author.as_ref().unwrap().as_str(), third.updated), ("bob", first.updated));
    let record = site.written("T", &Act::Set(change("c", 4, vec![item("k", Some("1"), None)]))).await;
    assert!(record.items[0].author.is_none() && record.items[0].updated.is_none());
}

#[tokio::test]
async fn a_channel_that_was_lost_is_born_above_all_its_revisions() {
    let site = Site::open().await;
    let set = |op| Act::Set(change("c", op, vec![item("k", Some("1"), None)]));
    let before = site.written("T", &set(1)).await.major_revision;
    let keys = [
        rollcall_keyspace::revisions(&site.base(), &site.room),
        rollcall_keyspace::meta(&site.base(), &channel(&site, "T")),
    ];
    let () = site.redis().del(keys.to_vec()).await.unwrap();
    assert!(site.written("T", &set(2)).await.major_revision > before);
}

#[tokio::test]
async fn items_whose_revision_was_lost_are_of_no_channel() {
    let site = Site::open().await;
    site.written("T", &Act::Set(change("c", 1, vec![item("k", Some("1"), None)]))).await;
    let () = site.redis().del(rollcall_keyspace::revisions(&site.base(), &site.room)).await.unwrap();
    let removal = Act::Remove(change("c", 2, vec![item("k", None, None)]));
    for record in [site.record("T").await, site.written("T", &removal).await] {
        assert_eq!((record.major_revision, items(&record)), (0, vec![]));
    }
    let record = site.written("T", &Act::Set(change("c", 3, vec![item("l", Some("1"), None)]))).await;
    assert_eq!(items(&record), [("l", "1", 1)]);
}

/// All types of a name live and end together: with the room's members, and for a while without.
#[tokio::test]
async fn metadata_lives_as_long_as_the_room_has_members_and_a_while_longer() {
    let site = Site::open().await;
    let set = |op| Act::Set(change("c", op, vec![item("k", Some("1"), None)]));
    site.written("T", &set(1)).await;
    let base = site.base();
    let keys = ["T", "U"].map(|kind| rollcall_keyspace::meta(&base, &channel(&site, kind)));
    let [t, u] = &keys;
    let revisions = rollcall_keyspace::revisions(&base, &site.room);
    let left = async |key: &String| -> i64 { site.redis().pttl(key).await.unwrap() };
    let runs = |left: i64| (1..=TTL_MS as i64).contains(&left);
    for key in [t, &revisions] {
        let () = site.redis().pexpire(key, 1_000, None).await.unwrap();
    }
    site.written("U", &set(2)).await;
    for key in [t, u, &revisions] {
        assert!(left(key).await > 1_000 && runs(left(key).await), "a write of one type puts off all: {key}");
    }
    site.join(join("c1", "ann", 1)).await;
    for key in [t, u, &revisions] {
        assert_eq!(left(key).await, -1, "members keep it: {key}");
    }
    site.written("T", &set(3)).await;
    assert_eq!(left(t).await, -1);
    site.leave("c1", 2).await;
    for key in [t, u, &revisions] {
        assert!(runs(left(key).await), "the last one leaves it behind: {key}");
    }
    let remembered = left(&rollcall_keyspace::done(&base, &site.room, &"c".into())).await;
    assert!(
        (20_000..=30_000).contains(&remembered),
        "a write is remembered for longer than anyone repeats it: {remembered}"
    );
}

/// Redis came back with older data under another replication id.
#[tokio::test]
async fn no_revision_of_a_lost_history_comes_again() {
    let site = Site::open().await;
    let set = site
        .written("T", &Act::Set(change("c", 1, vec![item("k", Some("1"), None), item("l", Some("1"), None)])))
        .await;
    let base = site.base();
    let (revisions, meta) =
        (rollcall_keyspace::revisions(&base, &site.room), rollcall_keyspace::meta(&base, &channel(&site, "T")));
    let old: Vec<(String, String)> = site.redis().hgetall(&meta).await.unwrap();
    let position: String = site.redis().hget(&revisions, "T").await.unwrap();
    let lost = site.written("T", &Act::Update(change("c", 2, vec![item("k", Some("2"), None)]))).await;
    assert_eq!(lost.major_revision, set.major_revision + 1);
    // The store as it was, written by another history.
    let foreign = |text: &str| {
        let (head, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
        let words: Vec<_> = head.split(' ').map(|word| if word.len() == 8 { "00000000" } else { word }).collect();
        format!("{}{rest}", words.join(" "))
    };
    for (key, text) in &old {
        let () = site.redis().hset(&meta, (key, foreign(text))).await.unwrap();
    }
    let () = site.redis().hset(&revisions, ("T", foreign(&position))).await.unwrap();
    let () = site.redis().del(rollcall_keyspace::done(&base, &site.room, &"c".into())).await.unwrap();

    let mut events = site.listen().await;
    let mut renewal = change("", 0, vec![]);
    renewal.options.major_revision = Some(set.major_revision);
    let renewed = site.written("T", &Act::Renew(renewal.clone())).await;
    assert!(renewed.major_revision > lost.major_revision + 1);
    assert_eq!(items(&renewed), [("k", "1", 1), ("l", "1", 1)]);
    assert!(matches!(site.write("T", &Act::Renew(renewal)).await, Written::Rejected(Rejection::Conflict { .. })));
    let received = events.texts().await;
    let event = MetadataEvent::read(&received[0]).unwrap();
    assert_eq!((received.len(), event.operation, event.items.len()), (1, Operation::Set, 2));
    let new = site.written("T", &Act::Update(change("c", 3, vec![item("k", Some("3"), None)]))).await;
    assert_eq!(new.major_revision, renewed.major_revision + 1);
    let revision = |key: &str| new.items.iter().find(|item| item.key.as_str() == key).unwrap().revision;
    assert!(revision("k") > 1_000_000, "{}", revision("k"));
    assert_eq!(revision("l"), 1, "what did not change has its own still");
    let next = site
        .written("T", &Act::Update(change("c", 4, vec![item("k", Some("4"), None), item("l", Some("4"), None)])))
        .await;
    assert_eq!(next.major_revision, new.major_revision + 1);
    assert_eq!(next.items.iter().filter(|item| item.revision > 1_000_000).count(), 2);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_fault_of_ours() {
    let site = Site::open().await;
    let () =
        site.redis().hset(rollcall_keyspace::revisions(&site.base(), &site.room), ("T", "5 5 00000000")).await.unwrap();
    let () =
        site.redis().hset(rollcall_keyspace::meta(&site.base(), &channel(&site, "T")), ("k", "broken")).await.unwrap();
    let fault = site.store.metadata(site.caller(), &channel(&site, "T")).await.unwrap_err();
    assert_eq!(fault.code, Code::Internal);
}
