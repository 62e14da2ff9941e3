//! `metadata:*`: one request on the bus, one acknowledgement. A socket that has not joined a room may use it too; without
//! a token its writes have no author.

use rollcall_protocol::{
    ChannelId, Code, Fault,
    client::{MetadataAsk, RateRejection, Write, WriteItem},
    command::{
        Command, Outcome,
        metadata::{Act, Change, Metadata, Rejection},
    },
    limits::{MAX_CHANNEL_BYTES, MAX_CHANNEL_TYPES},
};
use rollcall_telemetry::{
    metrics::{self, Refusal},
    propagation::TraceContext,
};

use crate::{
    socket::{ack::Ack, client::Client},
    translate,
};

pub(in crate::socket) async fn carry_out(client: &Client, channel: ChannelId, ask: MetadataAsk, ack: Ack) {
    let bytes = written(&ask);
    let turn = async {
        client.outlet.turn_to_write(bytes).await?;
        client.outlet.begin_write(bytes).await
    };
    let writing = match turn.await {
        Ok(writing) => writing,
        Err(fault) => return ack.reject(&fault),
    };
    let is_get = matches!(ask, MetadataAsk::Get);
    if !is_get && let Err(wait) = client.gateway.channel_writes.take(&channel.name) {
        metrics::refused(Refusal::ChannelWrites);
        let fault = Fault::new(Code::RateLimited, "too many writes to channels of this name; see retryAfterMs");
        return ack.reject_with(&fault, &RateRejection::new(&fault, wait));
    }
    let act = match ask {
        MetadataAsk::Set(write) => Act::Set(change(client, write)),
        MetadataAsk::Update(write) => Act::Update(change(client, write)),
        MetadataAsk::Remove(write) => Act::Remove(change(client, write)),
        MetadataAsk::Clear(write) => Act::Clear(change(client, write)),
        MetadataAsk::Get => Act::Get,
    };
    let command = Command::Metadata(Metadata { channel: channel.clone(), act });
    let trace = TraceContext::of(ack.span());
    match writing.during(client.gateway.bus.call(&command, trace)).await {
        Ok(reply) => match &*reply.outcome {
            Outcome::Record(record) => {
                if !is_get {
                    client.outlet.flow().backlog().pace.charge(record.bytes());
                } else if let Err(fault) = client.outlet.turn_to_answer(record.bytes()).await {
                    return ack.reject(&fault);
                }
                ack.send(&translate::answer::channel(&channel, record));
            }
            Outcome::Rejected(rejected) => ack.reject(&rejection(rejected)),
            _ => ack.reject(&Fault::unexpected()),
        },
        Err(fault) => ack.reject(&fault),
    }
}

/// The bytes of the keys and values that are written.
fn written(ask: &MetadataAsk) -> usize {
    let (MetadataAsk::Set(write) | MetadataAsk::Update(write) | MetadataAsk::Remove(write) | MetadataAsk::Clear(write)) =
        ask
    else {
        return 0;
    };
    let value = |item: &WriteItem| item.value.as_ref().map_or(0, |value| value.get().len());
    write.items.iter().map(|item| item.key.as_str().len() + value(item)).sum()
}

fn change(client: &Client, Write { items, options }: Write) -> Change {
    let author = client.session.joined_user().or_else(|| client.access.identity().map(|one| one.user.clone()));
    let (items, options) = (translate::request::items(items), translate::request::options(options));
    Change { conn: client.conn.clone(), op: client.session.next_op_number(), author, items, options }
}

fn rejection(rejected: &Rejection) -> Fault {
    match rejected {
        Rejection::Conflict { key: None, expected, actual } => {
            Fault::new(Code::MetadataConflict, format!("majorRevision is {actual}, not {expected}"))
        }
        Rejection::Conflict { key: Some(key), expected, actual } => {
            Fault::new(Code::MetadataConflict, format!("the revision of {key} is {actual}, not {expected}"))
        }
        Rejection::Absent { key: None } => Fault::new(Code::MetadataInvalid, "there is no such channel to update"),
        Rejection::Absent { key: Some(key) } => {
            Fault::new(Code::MetadataInvalid, format!("the channel has no item {key} to update"))
        }
        Rejection::TooLarge => Fault::new(
            Code::TooLarge,
            format!("data would make the channel larger than {MAX_CHANNEL_BYTES} bytes of keys and values"),
        ),
        Rejection::TooManyTypes => {
            Fault::new(Code::Overloaded, format!("channels of one name may have at most {MAX_CHANNEL_TYPES} types"))
        }
        Rejection::Lock => Fault::new(
            Code::MetadataLock,
            "this socket does not hold the lock of options.lockName, or not under that fence",
        ),
        Rejection::Overtaken => Fault::new(Code::Timeout, "a later write of this socket was there first"),
    }
}
