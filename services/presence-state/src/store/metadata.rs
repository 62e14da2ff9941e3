//! Metadata of channels in Redis: one function for each script of it, and the expiry that members put off.

use std::sync::LazyLock;

use bus::{redis, script::Script};
use fred::{
    error::ErrorKind,
    interfaces::{HashesInterface as _, KeysInterface as _},
    types::Value,
};
use protocol::{
    ChannelId, ChannelType, Code, Fault, RoomId,
    client::MAX_CHANNEL_BYTES,
    command::metadata::{Act, Change, Item, Metadata, Record, Rejected, WriteOptions},
};
use serde_json::value::RawValue;
use telemetry::propagation::TraceContext;
use tracing::Span;

use super::{Store, broken, int, script, traceparent};

static SCRIPT: LazyLock<Script> = script!(
    "clock",
    "lock",
    "channel",
    "write",
    "metadata_get",
    "metadata_set",
    "metadata_update",
    "metadata_remove",
    "metadata"
);

/// What became of what was asked.
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
        match self.write_metadata(span, &Metadata { channel: channel.clone(), act: Act::Get }).await? {
            Written::Done(record) => Ok(record),
            Written::Rejected(_) => Err(broken()),
        }
    }

    /// Changes a channel's metadata, or tells it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn write_metadata(&self, span: &Span, asked: &Metadata) -> Result<Written, Fault> {
        self.channels(&[(asked, span)]).await.pop().unwrap_or_else(|| Err(broken()))
    }

    /// Sees to channels, in order, of any rooms of one [place](Store::place); a result for each. Errors are `UNAVAILABLE`
    /// and `INTERNAL`. The call belongs to the trace of the first traced one, and the others are linked to it.
    pub async fn channels(&self, asked: &[(&Metadata, &Span)]) -> Vec<Result<Written, Fault>> {
        let mut results = Vec::with_capacity(asked.len());
        // The script leaves out the last ones when its answers grow long.
        while results.len() < asked.len() {
            match self.some_channels(&asked[results.len()..]).await {
                Ok(answers) => results.extend(answers),
                Err(fault) => results.resize_with(asked.len(), || Err(fault.clone())),
            }
        }
        results
    }

    /// The first ones, at least one of them.
    async fn some_channels(&self, asked: &[(&Metadata, &Span)]) -> Result<Vec<Result<Written, Fault>>, Fault> {
        let none = Span::none();
        let mut traced = asked.iter().map(|(_, span)| *span).filter(|span| !span.is_disabled());
        let parent = traced.next().unwrap_or(&none);
        let (mut keys, mut args) = (Vec::with_capacity(asked.len() * 5), Vec::with_capacity(2 + asked.len() * 10));
        args.extend([int(self.metadata_ttl_ms), int(MAX_CHANNEL_BYTES as u64)]);
        for (asked, span) in asked {
            add_keys(&mut keys, asked);
            add_args(&mut args, asked, &TraceContext::of(span));
        }
        if !parent.is_disabled() {
            let call = TraceContext::of(parent);
            traced.for_each(|span| call.link(span));
        }
        let answers: Vec<Value> = self.script(parent, &SCRIPT, keys, args, asked.len()).await?;
        if answers.is_empty() || answers.len() > asked.len() {
            return Err(broken());
        }
        self.worked();
        let answers = answers.into_iter().zip(asked);
        Ok(answers.map(|(answer, (_, span))| self.read(answer, span)).collect())
    }

    /// Reads what the script answers for one.
    fn read(&self, answer: Value, span: &Span) -> Result<Written, Fault> {
        let Value::Array(parts) = answer else { return Err(broken()) };
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Null);
        let status = text(next());
        let key = |text: String| (!text.is_empty()).then(|| text.into());
        Ok(match status.as_str() {
            "ok" | "again" => {
                let (major_revision, timestamp) = position(&text(next())).ok_or_else(broken)?;
                let items: Vec<String> = next().convert().map_err(|_| broken())?;
                let items = items.chunks_exact(2).map(|pair| item(&pair[0], &pair[1]));
                let items = items.collect::<Option<_>>().ok_or_else(broken)?;
                Written::Done(Record { major_revision, timestamp, items })
            }
            "conflict" => {
                let (key, expected, actual) = (key(text(next())), number(next())?, number(next())?);
                Written::Rejected(Rejected::Conflict { key, expected, actual })
            }
            "absent" => Written::Rejected(Rejected::Absent { key: key(text(next())) }),
            "lock" => Written::Rejected(Rejected::Lock),
            "large" => Written::Rejected(Rejected::TooLarge),
            "overtaken" => Written::Rejected(Rejected::Overtaken),
            "failed" => {
                let error = fred::error::Error::new(ErrorKind::Unknown, text(next()));
                return Err(self.fault(span, SCRIPT.name(), &error));
            }
            _ => return Err(Fault::new(Code::Internal, "a script answered something else")),
        })
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
        let types = stored.into_iter().filter(|(kind, _)| !kind.is_empty());
        types.map(|(kind, text)| Some((kind.into(), position(&text)?.0))).collect::<Option<_>>().ok_or_else(broken)
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
fn add_keys(keys: &mut Vec<String>, Metadata { channel, act }: &Metadata) {
    let room = &channel.name;
    let none = "".into();
    let conn = act.change().map_or(&none, |change| &change.conn);
    keys.extend([
        keyspace::revisions(room),
        keyspace::meta(channel),
        bus::subjects::room_events(room),
        keyspace::done(room, conn),
        keyspace::locks(room),
    ]);
}

/// The arguments of `metadata.lua`.
fn add_args(args: &mut Vec<Value>, Metadata { channel, act }: &Metadata, trace: &TraceContext) {
    let change = act.change();
    let author = change.and_then(|change| change.author.as_ref());
    let items = change.map_or(&[][..], |change| &change.items);
    args.extend([
        Value::from_static_str(act.verb()),
        channel.kind.as_str().into(),
        int(change.map_or(0, |change| change.op)),
        author.map_or("", |user| user.as_str()).into(),
        traceparent(trace),
        change.map_or_else(String::new, options).into(),
        int(items.len() as u64),
    ]);
    for item in items {
        args.extend([
            item.key.as_str().into(),
            item.revision.map_or_else(|| Value::from_static_str(""), int),
            item.value.as_deref().map_or("", RawValue::get).into(),
        ]);
    }
}

/// Most writes have none.
fn options(Change { conn, options, .. }: &Change) -> String {
    if *options == WriteOptions::default() {
        return String::new();
    }
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (major, fence) = (number(options.major_revision), number(options.fence));
    let (when, who) = (u8::from(options.add_timestamp), u8::from(options.add_user_id));
    let lock = options.lock.as_ref().map_or("", |lock| lock.as_str());
    format!("{major} {when} {who} {fence}\n{conn}\n{lock}")
}

fn text(value: Value) -> String {
    value.as_string().unwrap_or_default()
}

fn number(value: Value) -> Result<u64, Fault> {
    text(value).parse().map_err(|_| broken())
}

/// The `majorRevision` and when it changed.
fn position(text: &str) -> Option<(u64, u64)> {
    let (major, changed) = text.split_once(' ')?;
    Some((major.parse().ok()?, changed.parse().ok()?))
}

fn item(key: &str, stored: &str) -> Option<Item> {
    let mut lines = stored.splitn(3, '\n');
    let (revision, noted) = lines.next()?.split_once(' ')?;
    let author = Some(lines.next()?).filter(|user| !user.is_empty()).map(Into::into);
    let value = RawValue::from_string(lines.next()?.to_owned()).ok()?;
    let updated = if noted == "-" { None } else { Some(noted.parse().ok()?) };
    Some(Item { key: key.into(), value, revision: revision.parse().ok()?, updated, author })
}
