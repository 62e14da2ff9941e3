//! The payloads of `metadata:*`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Request,
    payload::{channel, fields, flag, id, number, object, present, whole},
};
use crate::{
    fault::{Code, Fault},
    ids::{ChannelId, ItemKey, LockName},
    json::check_depth,
    limits::{MAX_GIVEN_REVISION, MAX_ITEMS, MAX_SAFE_INTEGER, MAX_VALUE_BYTES},
};

/// A request about a channel's metadata.
#[derive(Debug)]
pub enum MetadataAsk {
    /// `metadata:setChannel`
    Set(Write),
    /// `metadata:updateChannel`
    Update(Write),
    /// `metadata:removeChannel` with `data`
    Remove(Write),
    /// `metadata:removeChannel` without
    Clear(Write),
    /// `metadata:getChannel`
    Get,
}

/// A write: which items, under which conditions.
#[derive(Debug)]
pub struct Write {
    /// The items.
    pub items: Vec<WriteItem>,
    /// The conditions, and what is recorded.
    pub options: WriteOptions,
}

/// One item of a write.
#[derive(Debug)]
pub struct WriteItem {
    /// The key.
    pub key: ItemKey,
    /// The value, which may be `null`. `None` leaves the value as it is; in a new item it is the empty string.
    pub value: Option<Box<RawValue>>,
    /// For `set` the revision that the item is given, 1 if there is none; else the one that it must have.
    pub revision: Option<u64>,
}

/// The conditions of a write, and what is recorded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// The `majorRevision` that the channel must have; 0 is that of a channel that does not exist.
    pub major_revision: Option<u64>,
    /// The lock that the writer must hold.
    pub lock: Option<LockName>,
    /// The fencing token under which it must hold the lock.
    pub fence: Option<u64>,
    /// Record when the items were written.
    pub add_timestamp: bool,
    /// Record who wrote them.
    pub add_user_id: bool,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "channelName")]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "channelType")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    options: Option<&'a RawValue>,
}

pub(super) fn set(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("metadata:setChannel", payload)?;
    let items = fields.data.map(items).transpose()?.unwrap_or_default();
    if let Some(at) = items.iter().position(|item| item.revision > Some(MAX_GIVEN_REVISION)) {
        return Err(Fault::invalid(format!("data[{at}].revision must be at most {MAX_GIVEN_REVISION}")));
    }
    fields.request(items, MetadataAsk::Set)
}

pub(super) fn update(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("metadata:updateChannel", payload)?;
    let items = items(fields.data.ok_or_else(|| Fault::invalid("data is missing"))?)?;
    if items.is_empty() {
        return Err(Fault::new(Code::MetadataInvalid, "data must have at least one item"));
    }
    fields.request(items, MetadataAsk::Update)
}

pub(super) fn remove(payload: Option<&str>) -> Result<Request, Fault> {
    let fields: Fields<'_> = fields("metadata:removeChannel", payload)?;
    match fields.data {
        Some(data) => fields.request(items(data)?, MetadataAsk::Remove),
        None => fields.request(Vec::new(), MetadataAsk::Clear),
    }
}

pub(super) fn get(payload: Option<&str>) -> Result<Request, Fault> {
    let channel = fields::<Fields<'_>>("metadata:getChannel", payload)?.channel()?;
    Ok(Request::Metadata(Box::new((channel, MetadataAsk::Get))))
}

impl Fields<'_> {
    fn channel(&self) -> Result<ChannelId, Fault> {
        channel(self.name, self.kind)
    }

    fn request(&self, items: Vec<WriteItem>, ask: fn(Write) -> MetadataAsk) -> Result<Request, Fault> {
        let channel = self.channel()?;
        let options = self.options.map(options).transpose()?.unwrap_or_default();
        Ok(Request::Metadata(Box::new((channel, ask(Write { items, options })))))
    }
}

#[derive(Deserialize)]
struct ItemFields<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    /// `null` is a value like any other.
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    revision: Option<&'a RawValue>,
}

fn items(data: &RawValue) -> Result<Vec<WriteItem>, Fault> {
    let data: Vec<&RawValue> =
        serde_json::from_str(data.get()).map_err(|_| Fault::invalid("data must be a list of items"))?;
    if data.len() > MAX_ITEMS {
        return Err(Fault::new(Code::TooLarge, format!("data must have at most {MAX_ITEMS} items")));
    }
    let items: Vec<_> = data.iter().enumerate().map(|(at, json)| item(at, json)).collect::<Result<_, _>>()?;
    let mut keys = HashSet::new();
    match items.iter().position(|item| !keys.insert(item.key.as_str())) {
        Some(at) => Err(Fault::invalid(format!("data[{at}].key is there twice"))),
        None => Ok(items),
    }
}

fn item(at: usize, json: &RawValue) -> Result<WriteItem, Fault> {
    let fields: ItemFields<'_> = object(json.get(), || format!("data[{at}]"))?;
    let key = id(&format!("data[{at}].key"), fields.key)?.into();
    if let Some(value) = fields.value {
        let field = format!("data[{at}].value");
        if value.get().len() > MAX_VALUE_BYTES {
            return Err(Fault::new(Code::TooLarge, format!("{field} must be at most {MAX_VALUE_BYTES} bytes of JSON")));
        }
        check_depth(&field, value.get())?;
    }
    let revision = fields.revision.map(|json| revision(&format!("data[{at}].revision"), json)).transpose()?.flatten();
    Ok(WriteItem { key, value: fields.value.map(ToOwned::to_owned), revision })
}

#[derive(Deserialize)]
struct OptionFields<'a> {
    #[serde(borrow, rename = "majorRevision")]
    major_revision: Option<&'a RawValue>,
    #[serde(borrow, rename = "lockName")]
    lock: Option<&'a RawValue>,
    #[serde(borrow)]
    fence: Option<&'a RawValue>,
    #[serde(borrow, rename = "addTimestamp")]
    add_timestamp: Option<&'a RawValue>,
    #[serde(borrow, rename = "addUserId")]
    add_user_id: Option<&'a RawValue>,
}

fn options(json: &RawValue) -> Result<WriteOptions, Fault> {
    let fields: OptionFields<'_> = object(json.get(), || "options".to_owned())?;
    let options = WriteOptions {
        major_revision: fields
            .major_revision
            .map(|json| revision("options.majorRevision", json))
            .transpose()?
            .flatten(),
        lock: fields.lock.map(|json| id("options.lockName", Some(json))).transpose()?.map(Into::into),
        fence: fields.fence.map(|json| number("options.fence", json, 0, MAX_SAFE_INTEGER)).transpose()?,
        add_timestamp: flag("options.addTimestamp", fields.add_timestamp)?,
        add_user_id: flag("options.addUserId", fields.add_user_id)?,
    };
    if options.fence.is_some() && options.lock.is_none() {
        return Err(Fault::invalid("options.fence needs options.lockName"));
    }
    Ok(options)
}

/// A revision to check or to set; a negative one counts as absent.
fn revision(field: &str, json: &RawValue) -> Result<Option<u64>, Fault> {
    let number = whole(json)
        .filter(|number| *number <= MAX_SAFE_INTEGER as i64)
        .ok_or_else(|| Fault::invalid(format!("{field} must be a whole number up to {MAX_SAFE_INTEGER}")))?;
    Ok(number.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::parse;

    fn asked(event: &str, rest: &str) -> Result<(ChannelId, MetadataAsk), Fault> {
        let text = format!(r#"["metadata:{event}",{{"channelName":"c","channelType":"T"{rest}}}]"#);
        match parse(&text)? {
            Request::Metadata(asked) => Ok(*asked),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_write_keeps_its_values_to_the_letter() {
        let rest = r#","data":[{"key":"日本","value":[9007199254740993, 1e400],"revision":-1},{"key":"b"}]"#;
        let (channel, ask) = asked("setChannel", rest).unwrap();
        assert_eq!((channel.name.as_str(), channel.kind.as_str()), ("c", "T"));
        let MetadataAsk::Set(write) = ask else { panic!("{ask:?}") };
        assert_eq!(write.items[0].value.as_ref().unwrap().get(), "[9007199254740993, 1e400]");
        assert_eq!((write.items[0].revision, write.items[1].value.is_none()), (None, true));
        let options = r#","data":[{"key":"a","revision":3}],"options":{"majorRevision":7,"addUserId":true}"#;
        let (_, MetadataAsk::Update(write)) = asked("updateChannel", options).unwrap() else { panic!() };
        assert_eq!((write.items[0].revision, write.options.major_revision), (Some(3), Some(7)));
        assert!(write.options.add_user_id && !write.options.add_timestamp);
        assert!(
            matches!(asked("removeChannel", r#","data":[]"#), Ok((_, MetadataAsk::Remove(write))) if write.items.is_empty())
        );
        for all in ["", r#","data":null"#] {
            assert!(
                matches!(asked("removeChannel", all), Ok((_, MetadataAsk::Clear(write))) if write.items.is_empty())
            );
        }
        assert!(matches!(asked("getChannel", ""), Ok((_, MetadataAsk::Get))));
    }

    #[test]
    fn an_optional_field_of_null_is_absent_and_a_whole_number_may_have_a_point() {
        let nulls = r#","data":[{"key":"a","value":null,"revision":null}],"options":{"majorRevision":null,"lockName":null,
            "fence":null,"addTimestamp":null,"addUserId":null}"#;
        let (_, MetadataAsk::Update(write)) = asked("updateChannel", nulls).unwrap() else { panic!() };
        assert_eq!(write.options, WriteOptions::default());
        assert_eq!(write.items[0].value.as_ref().map(|value| value.get()), Some("null"), "a value may be null");
        let numbers = r#","data":[{"key":"a","revision":2.0}],"options":{"majorRevision":1.8e15}"#;
        let (_, MetadataAsk::Set(write)) = asked("setChannel", numbers).unwrap() else { panic!() };
        assert_eq!((write.items[0].revision, write.options.major_revision), (Some(2), Some(1_800_000_000_000_000)));
        assert!(matches!(asked("setChannel", r#","data":null,"options":null"#), Ok((_, MetadataAsk::Set(_)))));
    }

    #[test]
    fn bad_payloads_are_refused_by_field() {
        let many = format!(r#","data":[{}]"#, vec![r#"{"key":"k"}"#; 257].join(","));
        let long = format!(r#","data":[{{"key":"k","value":"{}"}}]"#, "x".repeat(17 * 1024));
        let deep = format!(r#","data":[{{"key":"k","value":{}{}}}]"#, "[".repeat(65), "]".repeat(65));
        let name = format!(r#","data":[{{"key":"{}"}}]"#, "x".repeat(257));
        for (event, rest, code, word) in [
            ("setChannel", r#","data":{}"#, Code::InvalidPayload, "data"),
            ("setChannel", r#","data":[1]"#, Code::InvalidPayload, "data[0]"),
            ("setChannel", r#","data":[{"value":1}]"#, Code::InvalidPayload, "data[0].key"),
            ("setChannel", r#","data":[{"key":""}]"#, Code::InvalidPayload, "data[0].key"),
            ("setChannel", &name, Code::InvalidPayload, "data[0].key"),
            ("setChannel", r#","data":[{"key":"a"},{"key":"b"},{"key":"a"}]"#, Code::InvalidPayload, "data[2].key"),
            ("setChannel", r#","data":[{"key":"a","revision":"1"}]"#, Code::InvalidPayload, "data[0].revision"),
            ("setChannel", r#","data":[{"key":"a","revision":1.5}]"#, Code::InvalidPayload, "data[0].revision"),
            ("setChannel", r#","options":[]"#, Code::InvalidPayload, "options"),
            ("setChannel", r#","options":{"majorRevision":"1"}"#, Code::InvalidPayload, "options.majorRevision"),
            ("setChannel", r#","options":{"addUserId":1}"#, Code::InvalidPayload, "options.addUserId"),
            ("setChannel", r#","options":{"lockName":7}"#, Code::InvalidPayload, "options.lockName"),
            ("setChannel", r#","options":{"fence":7}"#, Code::InvalidPayload, "options.lockName"),
            ("setChannel", r#","options":{"lockName":"l","fence":-7}"#, Code::InvalidPayload, "options.fence"),
            ("setChannel", &deep, Code::InvalidPayload, "data[0].value"),
            ("setChannel", &many, Code::TooLarge, "data"),
            ("setChannel", &long, Code::TooLarge, "data[0].value"),
            ("updateChannel", "", Code::InvalidPayload, "data"),
            ("updateChannel", r#","data":[]"#, Code::MetadataInvalid, "data"),
            ("getChannel", r#","channelName":"c""#, Code::InvalidPayload, "twice"),
            ("setChannel", r#","data":[{"key":"a","key":"b"}]"#, Code::InvalidPayload, "data[0] names a field twice"),
        ] {
            let fault = asked(event, rest).unwrap_err();
            assert_eq!((fault.code, fault.message.contains(word)), (code, true), "{rest}: {fault}");
        }
        for (text, word) in [
            (r#"["metadata:getChannel",{"channelType":"t"}]"#, "channelName"),
            (r#"["metadata:getChannel",{"channelName":"c"}]"#, "channelType"),
            (r#"["metadata:getChannel"]"#, "payload"),
        ] {
            assert!(parse(text).unwrap_err().message.contains(word), "{text}");
        }
    }
}
