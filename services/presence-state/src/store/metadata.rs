//! Metadata of channels in Redis.

use std::sync::LazyLock;

use fred::{error::ErrorKind, interfaces::HashesInterface as _, types::Value};
use rollcall_bus::{redis, script::Script};
use rollcall_protocol::{
    ChannelId, ChannelType, Code, Fault, RoomId,
    command::metadata::{Act, Change, Item, Metadata, Record, Rejection, WriteOptions},
    limits::{MAX_CHANNEL_BYTES, MAX_CHANNEL_TYPES},
};
use serde_json::value::RawValue;
use tracing::Span;

use super::{Caller, Run, Store, broken, int, shared_span, source::script_with, traceparent_of};

/// One script under three sets of flags. Usually the first one runs every command, many channels in one call. If Redis is out of
/// memory, it rejects that call; then each command runs on its own, under the flags that its verb may have.
static ANY: LazyLock<Script> = LazyLock::new(|| script_with("metadata", ""));
static REMOVE: LazyLock<Script> = LazyLock::new(|| script_with("metadata", "allow-oom"));
static GET: LazyLock<Script> = LazyLock::new(|| script_with("metadata", "no-writes"));

/// Answers after which the next commands are left out; the script has the same number.
const LONG_BYTES: usize = 1024 * 1024;

/// The result of a command on a channel.
#[derive(Debug, Clone)]
pub enum Written {
    /// Carried out now, or before if the same command was already sent. The channel's record.
    Done(Record),
    /// Not carried out.
    Rejected(Rejection),
}

impl Store {
    /// A channel's metadata.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn metadata(&self, caller: Caller<'_>, channel: &ChannelId) -> Result<Record, Fault> {
        match self.write_metadata(caller, &Metadata { channel: channel.clone(), act: Act::Get }).await? {
            Written::Done(record) => Ok(record),
            Written::Rejected(_) => Err(broken()),
        }
    }

    /// Changes a channel's metadata, or reads it.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `OVERLOADED`, `INTERNAL`.
    pub async fn write_metadata(&self, caller: Caller<'_>, asked: &Metadata) -> Result<Written, Fault> {
        self.channels(caller.deadline_ms, &[(asked, caller.span)]).await.pop().unwrap_or_else(|| Err(broken()))
    }

    /// Carries out commands on channels, in order, in any rooms of one [slot](Store::slot); returns a result for each of the first
    /// commands, at least one. The others, whose answers would make it much more than 1 MiB, were not carried out. Errors are
    /// `UNAVAILABLE`, `OVERLOADED` and `INTERNAL`. The call belongs to the trace of the first traced command; the others are
    /// linked to it.
    pub async fn channels(&self, deadline_ms: u64, asked: &[(&Metadata, &Span)]) -> Vec<Result<Written, Fault>> {
        match self.some_channels(deadline_ms, &ANY, asked).await {
            Ok(results) => results,
            Err(fault) if fault.code == Code::Overloaded => {
                let (mut results, mut bytes) = (Vec::with_capacity(asked.len()), 0);
                for one in asked {
                    let result = self.channel_without_memory(deadline_ms, one, &fault).await;
                    bytes += if let Ok(Written::Done(record)) = &result { record.bytes() } else { 0 };
                    results.push(result);
                    if bytes > LONG_BYTES {
                        break;
                    }
                }
                results
            }
            Err(fault) => vec![Err(fault); asked.len()],
        }
    }

    /// Carries out a command while Redis is out of memory: only one that frees memory, or only reads.
    async fn channel_without_memory(
        &self,
        deadline_ms: u64,
        asked: &(&Metadata, &Span),
        fault: &Fault,
    ) -> Result<Written, Fault> {
        let script = match asked.0.act {
            Act::Get => &GET,
            Act::Remove(_) | Act::Clear(_) => &REMOVE,
            Act::Set(_) | Act::Update(_) | Act::Renew(_) => return Err(fault.clone()),
        };
        let results = self.some_channels(deadline_ms, script, &[*asked]).await?;
        results.into_iter().next().unwrap_or_else(|| Err(broken()))
    }

    /// Carries out the first commands of `asked`, at least one.
    async fn some_channels(
        &self,
        deadline_ms: u64,
        script: &'static LazyLock<Script>,
        asked: &[(&Metadata, &Span)],
    ) -> Result<Vec<Result<Written, Fault>>, Fault> {
        let (mut bases, mut args) = (Vec::with_capacity(asked.len()), Vec::with_capacity(2 + asked.len() * 12));
        args.extend([int(MAX_CHANNEL_BYTES as u64), int(MAX_CHANNEL_TYPES as u64)]);
        for (asked, span) in asked {
            bases.push(self.base_of(&asked.channel.name).clone());
            add_args(&mut args, asked, span);
        }
        let span = shared_span(asked.iter().map(|(_, span)| *span));
        let about = match (asked.first(), bases.first()) {
            (Some((asked, _)), Some(base)) if !span.is_disabled() => rollcall_keyspace::meta(base, &asked.channel),
            _ => String::new(),
        };
        let at = asked.first().map_or_else(|| RoomId::from("").partition(), |(one, _)| one.channel.name.partition());
        let run = Run { about: &about, at, bases, args, batch: asked.len() };
        let answers: Vec<Value> = self.write(Caller { span: &span, deadline_ms }, script, run).await?;
        if answers.is_empty() || answers.len() > asked.len() {
            return Err(broken());
        }
        let answers = answers.into_iter().zip(asked);
        Ok(answers.map(|(answer, (_, span))| self.read(answer, span)).collect())
    }

    /// Parses the script's answer to one command.
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
                Written::Rejected(Rejection::Conflict { key, expected, actual })
            }
            "absent" => Written::Rejected(Rejection::Absent { key: key(text(next())) }),
            "lock" => Written::Rejected(Rejection::Lock),
            "large" => Written::Rejected(Rejection::TooLarge),
            "types" => Written::Rejected(Rejection::TooManyTypes),
            "full" => return Err(self.nearly_full(span)),
            "overtaken" => Written::Rejected(Rejection::Overtaken),
            "failed" => {
                let error = fred::error::Error::new(ErrorKind::Unknown, text(next()));
                return Err(self.fault(span, ANY.name(), &error));
            }
            _ => return Err(Fault::new(Code::Internal, "a script gave an unexpected answer")),
        })
    }

    /// The types of the channels of a name, each with its `majorRevision`. (The field with the empty name is the last fencing
    /// token.)
    ///
    /// # Errors
    /// `UNAVAILABLE`, `INTERNAL`.
    pub async fn revisions(&self, span: &Span, room: &RoomId) -> Result<Vec<(ChannelType, u64)>, Fault> {
        let key = rollcall_keyspace::revisions(self.base_of(room), room);
        let read = rollcall_telemetry::span::command(span, "hgetall", &key);
        let stored = redis::observed(read, "hgetall", "", self.client().hgetall(key)).await;
        let stored: Vec<(String, String)> = stored.map_err(|error| self.fault(span, "hgetall", &error))?;
        let types = stored.into_iter().filter(|(kind, _)| !kind.is_empty());
        types.map(|(kind, text)| Some((kind.into(), position(&text)?.0))).collect::<Option<_>>().ok_or_else(broken)
    }
}

/// The arguments of `metadata.lua`.
fn add_args(args: &mut Vec<Value>, Metadata { channel, act }: &Metadata, span: &Span) {
    let change = act.change();
    let author = change.and_then(|change| change.author.as_ref());
    let items = change.map_or(&[][..], |change| &change.items);
    let verb = if matches!(act, Act::Clear(_)) { "clear" } else { act.verb() };
    args.extend([
        Value::from_static_str(verb),
        channel.name.as_str().into(),
        channel.kind.as_str().into(),
        change.map_or("", |change| change.conn.as_str()).into(),
        int(change.map_or(0, |change| change.op)),
        author.map_or("", |user| user.as_str()).into(),
        traceparent_of(span),
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

/// The options of a write; empty for most writes, which have none.
fn options(Change { options, .. }: &Change) -> String {
    if *options == WriteOptions::default() {
        return String::new();
    }
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (major, fence) = (number(options.major_revision), number(options.fence));
    let (when, who) = (u8::from(options.add_timestamp), u8::from(options.add_user_id));
    let lock = options.lock.as_ref().map_or("", |lock| lock.as_str());
    format!("{major} {when} {who} {fence}\n{lock}")
}

fn text(value: Value) -> String {
    value.as_string().unwrap_or_default()
}

fn number(value: Value) -> Result<u64, Fault> {
    text(value).parse().map_err(|_| broken())
}

/// Parses a `majorRevision` and the time of its change.
fn position(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split(' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn item(key: &str, stored: &str) -> Option<Item> {
    let mut lines = stored.splitn(3, '\n');
    let mut head = lines.next()?.split(' ');
    let (revision, _history, noted) = (head.next()?, head.next()?, head.next()?);
    let author = Some(lines.next()?).filter(|user| !user.is_empty()).map(Into::into);
    let value = RawValue::from_string(lines.next()?.to_owned()).ok()?;
    let updated = if noted == "-" { None } else { Some(noted.parse().ok()?) };
    Some(Item { key: key.into(), value, revision: revision.parse().ok()?, updated, author })
}
