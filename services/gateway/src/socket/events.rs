//! A socket's events, in the order of their arrival. socketioxide calls this on the task that reads the socket, one
//! packet after the other; a plain heartbeat is answered right here, everything else waits in the session's queue.

use std::sync::Arc;

use protocol::{
    Fault,
    client::{self, LockAsk, MetadataAsk, RejectedEvent, Request},
};
use socketioxide::{
    adapter::LocalAdapter,
    handler::{MessageHandler, Value},
    socket::Socket,
};
use telemetry::{heartbeat::HeartbeatSpan, metrics::Operation};
use tracing::Span;

use super::{
    ack::Ack,
    client::{Client, transport},
    departure::LastReference,
};

/// The handler of every event of one socket. It lives as long as the socket.
pub(super) struct Events(pub(super) LastReference);

/// Marks [`Events`] among socketioxide's kinds of handlers: the one that takes the arguments as they came.
pub(super) struct Verbatim;

impl MessageHandler<LocalAdapter, Verbatim> for Events {
    fn call(&self, socket: Arc<Socket>, arguments: Value, ack_id: Option<i64>) {
        let client = &self.0.client;
        client.record_event();
        let request = match &arguments {
            Value::Str(text, None) => client::parse(text),
            _ => Err(Fault::invalid("binary attachments are not taken")),
        };
        let outlet = Arc::clone(&client.outlet);
        let ack = match &request {
            Ok(Request::Heartbeat { patch: None, .. }) => Ack::at_once(outlet, ack_id, beat(client, &socket)),
            _ => {
                let (operation, event) = name(&request);
                let span = match &request {
                    Ok(request) => span(client, &socket, request, event),
                    Err(_) => refused(client, &socket, &arguments),
                };
                Ack::new(outlet, ack_id, span, operation)
            }
        };
        match request {
            Ok(request) => client.accept(request, ack),
            Err(fault) => ack.refuse(&fault),
        }
    }
}

/// What metrics call a request, and the event that it came as.
fn name(request: &Result<Request, Fault>) -> (Operation, &'static str) {
    match request {
        Ok(Request::Heartbeat { .. }) => (Operation::Heartbeat, "presence:heartbeat"),
        Ok(Request::Join { .. }) => (Operation::Join, "presence:join"),
        Ok(Request::Leave) => (Operation::Leave, "presence:leave"),
        Ok(Request::Metadata(asked)) => match &asked.1 {
            MetadataAsk::Set(_) => (Operation::MetadataSet, "metadata:setChannel"),
            MetadataAsk::Update(_) => (Operation::MetadataUpdate, "metadata:updateChannel"),
            MetadataAsk::Remove(_) | MetadataAsk::Clear(_) => (Operation::MetadataRemove, "metadata:removeChannel"),
            MetadataAsk::Get => (Operation::MetadataGet, "metadata:getChannel"),
        },
        Ok(Request::Lock(ask)) => match &**ask {
            LockAsk::Acquire { .. } => (Operation::LockAcquire, "lock:acquire"),
            LockAsk::Renew { .. } => (Operation::LockRenew, "lock:renew"),
            LockAsk::Release { .. } => (Operation::LockRelease, "lock:release"),
            LockAsk::Get { .. } => (Operation::LockGet, "lock:get"),
        },
        Err(_) => (Operation::Invalid, "invalid"),
    }
}

/// What traces a heartbeat without a patch, if it is one of the traced share.
fn beat(client: &Client, socket: &Socket) -> Option<HeartbeatSpan> {
    telemetry::sample_heartbeat()
        .then(|| HeartbeatSpan::arrived(client.conn.shared(), transport(socket), &client.connect_trace))
        .flatten()
}

/// The span of an event that could not be read, by its name and with the ids that could.
fn refused(client: &Client, socket: &Socket, arguments: &Value) -> Span {
    let RejectedEvent { event, room, user } = match arguments {
        Value::Str(text, _) => RejectedEvent::read(text),
        Value::Bytes(_) => RejectedEvent::default(),
    };
    let span = telemetry::span::socket_event(event.unwrap_or("invalid"), client.conn.as_str(), transport(socket));
    client.connect_trace.link(&span);
    room.map(|room| span.record("presence.room_id", room));
    user.map(|user| span.record("presence.user_id", user));
    span
}

fn span(client: &Client, socket: &Socket, request: &Request, event: &'static str) -> Span {
    if matches!(request, Request::Heartbeat { .. }) && !telemetry::sample_heartbeat() {
        return Span::none();
    }
    let span = telemetry::span::socket_event(event, client.conn.as_str(), transport(socket));
    if span.is_disabled() {
        return span;
    }
    client.connect_trace.link(&span);
    match request {
        Request::Join { room, user, .. } => {
            span.record("presence.room_id", room.as_str()).record("presence.user_id", user.as_str());
        }
        Request::Metadata(asked) => {
            span.record("metadata.channel_name", asked.0.name.as_str())
                .record("metadata.channel_type", asked.0.kind.as_str());
        }
        Request::Lock(ask) => {
            let channel = ask.channel();
            span.record("lock.channel_name", channel.name.as_str()).record("lock.channel_type", channel.kind.as_str());
            if let LockAsk::Acquire { lock, .. } | LockAsk::Renew { lock, .. } | LockAsk::Release { lock, .. } = &**ask
            {
                span.record("lock.name", lock.name.as_str());
            }
        }
        Request::Heartbeat { .. } | Request::Leave => {}
    }
    span
}
