//! Metadata of channels in Redis: one function for each script of it, and the expiry that members put off.

use std::sync::LazyLock;

use bus::{redis, script::Script};
use fred::{
    interfaces::{HashesInterface as _, KeysInterface as _},
    types::Value,
};
use protocol::{
    ChannelId, ChannelType, Code, Fault, RoomId,
    client::MAX_CHANNEL_BYTES,
    command::metadata::{Act, Item, Record, Rejected},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tracing::Span;

use super::{Store, broken, int, script, traceparent};

static GET: LazyLock<Script> = script!("clock", "channel", "metadata_get");
static SET: LazyLock<Script> = script!("clock", "lock", "channel", "write", "metadata_set");
static UPDATE: LazyLock<Script> = script!("clock", "lock", "channel", "write", "metadata_update");
static REMOVE: LazyLock<Script> = script!("clock", "lock", "channel", "write", "metadata_remove");

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    /// It happened, now or, sent before, already then; the channel since.
    Done(Record),
    /// It did not.
    Rejected(Rejected),
}

impl Store {
    /// A channel's metadata.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn metadata(&self, span: &Span, channel: &ChannelId) -> Result<Record, Fault> {
        let answer = self.script(span, &GET, keys(channel), vec![channel.kind.as_str().into()], 1).await?;
        self.worked();
        match read(answer)? {
            Written::Done(record) => Ok(record),
            Written::Rejected(_) => Err(broken()),
        }
    }

    /// Changes a channel's metadata.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn write_metadata(
        &self,
        span: &Span,
        channel: &ChannelId,
        act: &Act,
        trace: &TraceContext,
    ) -> Result<Written, Fault> {
        let (script, change) = match act {
            Act::Set(change) => (&SET, change),
            Act::Update(change) => (&UPDATE, change),
            Act::Remove(change) => (&REMOVE, change),
            Act::Get => return self.metadata(span, channel).await.map(Written::Done),
        };
        let mut keys = keys(channel);
        keys.extend([keyspace::done(&channel.name, &change.conn), keyspace::locks(&channel.name)]);
        let options = &change.options;
        let mut args: Vec<Value> = vec![
            channel.kind.as_str().into(),
            change.conn.as_str().into(),
            int(change.op),
            change.author.as_ref().map_or("", |user| user.as_str()).into(),
            options.major_revision.map_or_else(|| "".into(), int),
            i64::from(options.add_timestamp).into(),
            i64::from(options.add_user_id).into(),
            int(self.metadata_ttl_ms),
            int(MAX_CHANNEL_BYTES as u64),
            traceparent(trace),
            options.lock.as_ref().map_or("", |lock| lock.as_str()).into(),
            options.fence.map_or_else(|| "".into(), int),
        ];
        for item in &change.items {
            args.extend([
                item.key.as_str().into(),
                item.revision.map_or_else(|| "".into(), int),
                item.value.as_deref().map_or("", RawValue::get).into(),
            ]);
        }
        let answer = self.script(span, script, keys, args, change.items.len().max(1)).await?;
        self.worked();
        read(answer)
    }

    /// The types of the channels of a name (the field that is none is the last fence), each with its `majorRevision`.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn revisions(&self, span: &Span, room: &RoomId) -> Result<Vec<(ChannelType, u64)>, Fault> {
        let key = keyspace::revisions(room);
        let read = telemetry::span::command(span, "hgetall", &key);
        let stored = redis::observed(read, "hgetall", "", self.client().hgetall(key)).await;
        let stored: Vec<(String, String)> = stored.map_err(|error| self.fault(span, "hgetall", &error))?;
        let revision = |text: &str| text.split(' ').next()?.parse().ok();
        let types = stored.into_iter().filter(|(kind, _)| !kind.is_empty());
        types.map(|(kind, text)| Some((kind.into(), revision(&text)?))).collect::<Option<_>>().ok_or_else(broken)
    }

    /// Puts off the expiry of the metadata beside a room that has members.
    pub(super) async fn keep_metadata(&self, span: &Span, room: &RoomId) -> Result<(), fred::error::Error> {
        let key = keyspace::revisions(room);
        let read = telemetry::span::command(span, "hkeys", &key);
        let kinds: Vec<String> = redis::observed(read, "hkeys", "", self.client().hkeys(&key)).await?;
        if kinds.is_empty() {
            return Ok(());
        }
        let lives = i64::try_from(self.metadata_ttl_ms).unwrap_or(i64::MAX);
        let pipeline = self.client().pipeline();
        let write = telemetry::span::pipeline(span, "keep_metadata", &key, kinds.len());
        let () = pipeline.pexpire(key, lives, None).await?;
        for kind in kinds.into_iter().filter(|kind| !kind.is_empty()) {
            let channel = ChannelId { name: room.clone(), kind: kind.into() };
            let () = pipeline.pexpire(keyspace::meta(&channel), lives, None).await?;
        }
        redis::observed(write, "pipeline", "", pipeline.all()).await
    }
}

/// The keys of `channel.lua`.
fn keys(channel: &ChannelId) -> Vec<String> {
    vec![keyspace::revisions(&channel.name), keyspace::meta(channel), bus::subjects::room_events(&channel.name)]
}

/// Reads what `channel.lua` and `write.lua` answer.
fn read(answer: Value) -> Result<Written, Fault> {
    let Value::Array(parts) = answer else { return Err(broken()) };
    let mut parts = parts.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Null);
    let status = text(next());
    let key = |text: String| (!text.is_empty()).then(|| text.into());
    Ok(match status.as_str() {
        "ok" | "again" => {
            let (major_revision, timestamp) = (number(next())?, number(next())?);
            let items: Vec<String> = next().convert().map_err(|_| broken())?;
            let items = items.chunks_exact(2).map(|pair| item(&pair[0], &pair[1]));
            Written::Done(Record { major_revision, timestamp, items: items.collect::<Option<_>>().ok_or_else(broken)? })
        }
        "conflict" => {
            let (key, expected, actual) = (key(text(next())), number(next())?, number(next())?);
            Written::Rejected(Rejected::Conflict { key, expected, actual })
        }
        "absent" => Written::Rejected(Rejected::Absent { key: key(text(next())) }),
        "lock" => Written::Rejected(Rejected::Lock),
        "large" => Written::Rejected(Rejected::TooLarge),
        "overtaken" => Written::Rejected(Rejected::Overtaken),
        _ => return Err(Fault::new(Code::Internal, "a script answered something else")),
    })
}

fn text(value: Value) -> String {
    value.as_string().unwrap_or_default()
}

fn number(value: Value) -> Result<u64, Fault> {
    text(value).parse().map_err(|_| broken())
}

fn item(key: &str, stored: &str) -> Option<Item> {
    let mut lines = stored.splitn(3, '\n');
    let (revision, noted) = lines.next()?.split_once(' ')?;
    let author = Some(lines.next()?).filter(|user| !user.is_empty()).map(Into::into);
    let value = RawValue::from_string(lines.next()?.to_owned()).ok()?;
    let updated = if noted == "-" { None } else { Some(noted.parse().ok()?) };
    Some(Item { key: key.into(), value, revision: revision.parse().ok()?, updated, author })
}
