//! What a session's work does for `metadata:*`: one request on the bus, one acknowledgement. A socket that has joined no
//! room may ask as well; what it writes has no author.

use std::sync::Arc;

use protocol::{
    ChannelId, Code, Fault,
    client::{MetadataAsk, Write},
    command::{
        Command, Outcome,
        metadata::{Act, Change, Metadata, Rejection},
    },
    limits::{MAX_CHANNEL_BYTES, MAX_CHANNEL_TYPES},
};
use telemetry::propagation::TraceContext;

use super::{answer::Answer, session::Session};
use crate::translate;

pub(super) async fn carry_out(session: &Arc<Session>, channel: ChannelId, ask: MetadataAsk, answer: Answer) {
    let act = match ask {
        MetadataAsk::Set(write) => Act::Set(change(session, write)),
        MetadataAsk::Update(write) => Act::Update(change(session, write)),
        MetadataAsk::Remove(write) => Act::Remove(change(session, write)),
        MetadataAsk::Clear(write) => Act::Clear(change(session, write)),
        MetadataAsk::Get => Act::Get,
    };
    let command = Command::Metadata(Metadata { channel: channel.clone(), act });
    let trace = TraceContext::of(answer.span());
    match session.gateway.bus.call(&command, trace).await {
        Ok(reply) => match &*reply.outcome {
            Outcome::Record(record) => answer.send(&translate::answer::channel(&channel, record)),
            Outcome::Rejected(rejected) => answer.refuse(&refusal(rejected)),
            _ => answer.refuse(&Fault::unexpected()),
        },
        Err(fault) => answer.refuse(&fault),
    }
}

fn change(session: &Session, Write { items, options }: Write) -> Change {
    let author = session.membership().filter(|own| own.joined).map(|own| own.user);
    let (items, options) = (translate::request::items(items), translate::request::options(options));
    Change { conn: session.conn.clone(), op: session.next_op_number(), author, items, options }
}

fn refusal(rejected: &Rejection) -> Fault {
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
