//! A change of a channel's metadata, as its script publishes it. Values are opaque and may contain any
//! character, so each comes with its length.
//!
//! ```text
//! m1 <set|update|remove> <majorRevision> <ts>
//! <traceparent or nothing>
//! <channelType>
//! <author or nothing>
//! then for each item: <revision> <bytes of the value>
//! <key>
//! <value>
//! ```

use serde_json::value::RawValue;

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It was replaced by the items.
    Set,
    /// The items changed.
    Update,
    /// The items are gone.
    Remove,
}

impl Operation {
    fn read(text: &str) -> Option<Self> {
        match text {
            "set" => Some(Operation::Set),
            "update" => Some(Operation::Update),
            "remove" => Some(Operation::Remove),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct MetadataEvent<'a> {
    /// What happened.
    pub operation: Operation,
    /// The record's revision after it.
    pub major_revision: u64,
    /// When, in milliseconds of Redis' clock.
    pub ts: u64,
    /// The trace that the change belongs to.
    pub traceparent: Option<&'a str>,
    /// The channel's type; its name is that of the room.
    pub kind: &'a str,
    /// The user of the connection that wrote, if it had one.
    pub author: Option<&'a str>,
    /// The items: the new ones, or, if they were removed, the last ones.
    pub items: Vec<EventItem<'a>>,
}

/// An item of an event.
#[derive(Debug)]
pub struct EventItem<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a RawValue,
    /// Its revision.
    pub revision: u64,
}

impl<'a> MetadataEvent<'a> {
    /// Whether a published text is of this kind.
    pub fn is(text: &str) -> bool {
        text.starts_with("m1 ")
    }

    /// Reads a published event; `None` if it is malformed or of a version that this build does not know.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut lines = text.splitn(5, '\n');
        let mut head = lines.next()?.strip_prefix("m1 ")?.split(' ');
        let operation = Operation::read(head.next()?)?;
        let (major_revision, ts) = (head.next()?.parse().ok()?, head.next()?.parse().ok()?);
        let mut line = || lines.next();
        let traceparent = Some(line()?).filter(|text| !text.is_empty());
        let (kind, author) = (line()?, Some(line()?).filter(|text| !text.is_empty()));
        let mut rest = line()?;
        let mut items = Vec::new();
        while !rest.is_empty() {
            let (item, others) = item(rest)?;
            items.push(item);
            rest = others;
        }
        Some(Self { operation, major_revision, ts, traceparent, kind, author, items })
    }
}

fn item(text: &str) -> Option<(EventItem<'_>, &str)> {
    let (head, rest) = text.split_once('\n')?;
    let (revision, length) = head.split_once(' ')?;
    let (key, rest) = rest.split_once('\n')?;
    let (value, rest) = rest.split_at_checked(length.parse().ok()?)?;
    let value = serde_json::from_str(value).ok()?;
    Some((EventItem { key, value, revision: revision.parse().ok()? }, rest.strip_prefix('\n')?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_published_change_is_read() {
        let text = "m1 update 7 1700000000001\n\nMESSAGE\nann\n3 8\ntopic\n{\"a\":\n1}\n1 4\né\nnull\n";
        let event = MetadataEvent::read(text).unwrap();
        assert_eq!((event.operation, event.major_revision, event.kind), (Operation::Update, 7, "MESSAGE"));
        assert_eq!((event.author, event.traceparent), (Some("ann"), None));
        let items: Vec<_> = event.items.iter().map(|item| (item.key, item.value.get(), item.revision)).collect();
        assert_eq!(items, [("topic", "{\"a\":\n1}", 3), ("é", "null", 1)]);
        assert!(MetadataEvent::read("m1 set 1 1\n\nT\n\n").unwrap().items.is_empty());
    }

    #[test]
    fn what_is_no_change_is_none() {
        for text in
            ["", "m2 set 1 1\n\nT\n\n", "m1 set 1 1\n\nT\n", "m1 set 1 1\n\nT\n\n1 9\nk\n1\n", "m1 add 1 1\n\nT\n\n"]
        {
            assert!(MetadataEvent::read(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(?s).*") {
            let _ = MetadataEvent::read(&text);
            let _ = MetadataEvent::read(&format!("m1 set 1 1\n\nT\n\n{text}"));
            let _ = MetadataEvent::read(&format!("m1 set 1 1\n\nT\n\n1 {text}"));
        }
    }
}
