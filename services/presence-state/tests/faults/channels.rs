//! What is in the room's channels, as it should be: in a map of values. Revisions are the store's affair.

use std::collections::BTreeMap;

use rollcall_presence_state::store::{Caller, Written};
use rollcall_protocol::{
    ChannelId, Fault,
    command::metadata::{Act, Change, ItemChange, Metadata, Record, Rejection, WriteOptions},
};

use crate::{
    members,
    site::{Site, json},
    step::KINDS,
};

/// The values of a channel; none before the first write.
pub(crate) type Values = Option<BTreeMap<String, String>>;

/// A key and its value.
pub(crate) type Item = (String, String);

/// See the module.
pub(crate) type Channels = [Values; KINDS.len()];

/// What is asked of a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Set,
    Change,
    Remove,
}

/// Asks for it, with one item whose value no other has.
pub(crate) async fn ask(
    site: &Site,
    verb: Verb,
    (conn, kind, key): (usize, usize, u8),
    op: u64,
    lock: Option<(&str, u64)>,
    deadline_ms: u64,
) -> Result<(Written, Item), Fault> {
    let (key, value) = (format!("k{key}"), format!("\"{} of c{conn}\"", op));
    let item = ItemChange {
        key: key.as_str().into(),
        value: (!matches!(verb, Verb::Remove)).then(|| json(&value)),
        revision: None,
    };
    let options = WriteOptions {
        lock: lock.map(|(name, _)| name.into()),
        fence: lock.map(|(_, fence)| fence),
        ..WriteOptions::default()
    };
    let change = Change { conn: members::name(conn).as_str().into(), op, author: None, items: vec![item], options };
    let act = match verb {
        Verb::Set => Act::Set(change),
        Verb::Change => Act::Update(change),
        Verb::Remove => Act::Remove(change),
    };
    let asked = Metadata { channel: channel(site, kind), act };
    let written = site.store.write_metadata(Caller { span: &site.span, deadline_ms }, &asked).await?;
    Ok((written, (key, value)))
}

/// Takes what was asked, and compares what came of it. Answers the channel, if it was not refused.
pub(crate) fn take(values: &mut Values, verb: Verb, written: Written, (key, value): Item) -> Option<Record> {
    let has_key = values.as_ref().is_some_and(|values| values.contains_key(&key));
    let record = match (verb, written) {
        (Verb::Change, Written::Rejected(Rejection::Absent { .. })) if !has_key => return None,
        (Verb::Change, written) if !has_key => panic!("{key} is not there to be changed: {written:?}"),
        (_, Written::Done(record)) => record,
        (_, other) => panic!("{other:?}, with {values:?}"),
    };
    match verb {
        Verb::Set => *values = Some(BTreeMap::from([(key, value)])),
        Verb::Change => drop(values.get_or_insert_default().insert(key, value)),
        Verb::Remove => values.iter_mut().for_each(|values| drop(values.remove(&key))),
    }
    assert_eq!(of_record(&record), values.clone().unwrap_or_default());
    Some(record)
}

/// Whether its writer does not hold the lock that it named.
pub(crate) fn is_refused_by_lock(written: &Written) -> bool {
    matches!(written, Written::Rejected(Rejection::Lock))
}

pub(crate) fn of_record(record: &Record) -> BTreeMap<String, String> {
    record.items.iter().map(|item| (item.key.as_str().to_owned(), item.value.get().to_owned())).collect()
}

pub(crate) async fn read(site: &Site, kind: usize) -> Record {
    site.store.metadata(site.caller(), &channel(site, kind)).await.unwrap()
}

pub(crate) fn channel(site: &Site, kind: usize) -> ChannelId {
    ChannelId { name: site.room.clone(), kind: KINDS[kind].into() }
}
