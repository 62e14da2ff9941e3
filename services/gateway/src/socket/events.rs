//! The events of a socket, in order of arrival. socketioxide calls the handler on the task that reads the socket, packet by
//! packet. A plain heartbeat is answered on that task; everything else goes into the session's queue.

use std::sync::Arc;

use rollcall_protocol::{
    Code, Fault,
    client::{self, LockAsk, MetadataAsk, RateRejection, RejectedEvent, Request},
};
use rollcall_telemetry::{
    heartbeat::HeartbeatSpan,
    metrics::{self, Operation, Refusal},
};
use socketioxide::{
    TransportType,
    adapter::LocalAdapter,
    handler::{MessageHandler, Value},
    socket::Socket,
};
use tracing::Span;

use super::{
    ack::Ack,
    client::{Client, REJECTED_SPANS, transport},
    disconnect::LastReference,
};
use crate::flow::{Excess, outward::Buffer};

/// The handler of all events of one socket. It lives as long as the socket.
pub(super) struct Events(pub(super) LastReference);

/// The type by which socketioxide tells this kind of handler from others: it takes the arguments unparsed.
pub(super) struct Verbatim;

impl MessageHandler<LocalAdapter, Verbatim> for Events {
    fn call(&self, socket: Arc<Socket>, arguments: Value, ack_id: Option<i64>) {
        let client = &self.0.client;
        client.record_event();
        if let Err(excess) = admit(client, &socket, &arguments) {
            return reject_excess(client, ack_id, &excess);
        }
        let request = match &arguments {
            Value::Str(text, None) => client::parse(text),
            _ => Err(Fault::invalid("binary attachments are not taken")),
        };
        let outlet = Arc::clone(&client.outlet);
        let ack = match &request {
            Ok(Request::Heartbeat { patch: None, .. }) => {
                Ack::of_heartbeat(outlet, ack_id, heartbeat_span(client, &socket))
            }
            _ => {
                let (operation, event) = name(&request);
                let span = match &request {
                    Ok(request) => span(client, &socket, request, event),
                    Err(_) => rejected_span(client, &socket, &arguments),
                };
                Ack::new(outlet, ack_id, span, operation)
            }
        };
        match request {
            Ok(request) => client.accept(request, ack),
            Err(fault) => ack.reject(&fault),
        }
    }
}

/// Counts an event against the limits of its socket.
fn admit(client: &Client, socket: &Socket, arguments: &Value) -> Result<(), Excess> {
    let (bytes, is_join) = match arguments {
        Value::Str(text, attachments) => {
            let attached = attachments.iter().flatten().map(|bytes| bytes.len()).sum::<usize>();
            (text.len() + attached, text.starts_with("[\"presence:join\""))
        }
        Value::Bytes(bytes) => (bytes.len(), false),
    };
    let flow = client.outlet.flow();
    if socket.transport_type() == TransportType::Websocket {
        flow.has_buffer(Buffer::Read, bytes);
        flow.list();
    }
    flow.admit(&client.gateway.limits, bytes, is_join)
}

/// Answers an event over a limit. It has no span: a flood costs no more than its answers.
fn reject_excess(client: &Client, ack_id: Option<i64>, excess: &Excess) {
    metrics::refused(excess.refusal);
    let what = if excess.refusal == Refusal::SocketBytes { "bytes" } else { "events" };
    let fault = Fault::new(Code::RateLimited, format!("this socket sent too many {what}; see retryAfterMs"));
    let answer = RateRejection::new(&fault, excess.retry_after);
    Ack::new(Arc::clone(&client.outlet), ack_id, Span::none(), Operation::Invalid).reject_with(&fault, &answer);
}

/// The operation of a request, for metrics, and the name of its event.
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
        Ok(Request::Refresh(_)) => (Operation::AuthRefresh, "auth:refresh"),
        Err(_) => (Operation::Invalid, "invalid"),
    }
}

/// The span of a heartbeat without a patch, if it is sampled.
fn heartbeat_span(client: &Client, socket: &Socket) -> Option<HeartbeatSpan> {
    rollcall_telemetry::sample_heartbeat()
        .then(|| HeartbeatSpan::arrived(client.conn.shared(), transport(socket), &client.connect_trace))
        .flatten()
}

/// The span of an event that cannot be read, with its name and the ids that can be read.
fn rejected_span(client: &Client, socket: &Socket, arguments: &Value) -> Span {
    if client.gateway.rejected_spans.take(REJECTED_SPANS, 1).is_err() {
        return Span::none();
    }
    let RejectedEvent { event, room, user } = match arguments {
        Value::Str(text, _) => RejectedEvent::read(text),
        Value::Bytes(_) => RejectedEvent::default(),
    };
    let span =
        rollcall_telemetry::span::socket_event(event.unwrap_or("invalid"), client.conn.as_str(), transport(socket));
    client.connect_trace.link(&span);
    room.map(|room| span.record("presence.room_id", room));
    user.map(|user| span.record("presence.user_id", user));
    span
}

fn span(client: &Client, socket: &Socket, request: &Request, event: &'static str) -> Span {
    if matches!(request, Request::Heartbeat { .. }) && !rollcall_telemetry::sample_heartbeat() {
        return Span::none();
    }
    let span = rollcall_telemetry::span::socket_event(event, client.conn.as_str(), transport(socket));
    if span.is_disabled() {
        return span;
    }
    client.connect_trace.link(&span);
    match request {
        Request::Join { room, user, .. } => {
            span.record("presence.room_id", room.as_str());
            user.as_ref().map(|user| span.record("presence.user_id", user.as_str()));
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
        Request::Heartbeat { .. } | Request::Leave | Request::Refresh(_) => {}
    }
    span
}
