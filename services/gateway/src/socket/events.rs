//! A socket's events, in the order of their arrival. socketioxide calls this on the task that reads the socket, one
//! packet after the other; a plain heartbeat is answered right here, everything else waits in the session's queue.

use std::sync::Arc;

use protocol::{
    Fault,
    client::{self, LockAsk, MetadataAsk, Request},
};
use socketioxide::{
    adapter::LocalAdapter,
    handler::{MessageHandler, Value},
    socket::Socket,
};
use tracing::Span;

use super::{
    answer::Answer,
    session::{Session, transport},
};

/// The handler of every event of one socket.
pub(super) struct Events(pub(super) Arc<Session>);

/// Marks [`Events`] among socketioxide's kinds of handlers: the one that takes the arguments as they came.
pub(super) struct Verbatim;

impl MessageHandler<LocalAdapter, Verbatim> for Events {
    fn call(&self, socket: Arc<Socket>, arguments: Value, ack_id: Option<i64>) {
        let request = match &arguments {
            Value::Str(text, None) => client::parse(text),
            _ => Err(Fault::invalid("binary attachments are not taken")),
        };
        let answer = Answer::new(Arc::clone(&self.0), ack_id, span(&self.0, &socket, &request));
        match request {
            Ok(request) => self.0.take(request, answer),
            Err(fault) => answer.refuse(&fault),
        }
    }
}

fn span(session: &Session, socket: &Socket, request: &Result<Request, Fault>) -> Span {
    let (event, name) = match request {
        Ok(Request::Heartbeat { .. }) if !telemetry::sample_heartbeat() => return Span::none(),
        Ok(Request::Heartbeat { .. }) => ("presence:heartbeat", "socket presence:heartbeat"),
        Ok(Request::Join { .. }) => ("presence:join", "socket presence:join"),
        Ok(Request::Leave) => ("presence:leave", "socket presence:leave"),
        Ok(Request::Metadata(asked)) => match &asked.1 {
            MetadataAsk::Set(_) => ("metadata:setChannel", "socket metadata:setChannel"),
            MetadataAsk::Update(_) => ("metadata:updateChannel", "socket metadata:updateChannel"),
            MetadataAsk::Remove(_) => ("metadata:removeChannel", "socket metadata:removeChannel"),
            MetadataAsk::Get => ("metadata:getChannel", "socket metadata:getChannel"),
        },
        Ok(Request::Lock(ask)) => match &**ask {
            LockAsk::Acquire { .. } => ("lock:acquire", "socket lock:acquire"),
            LockAsk::Renew { .. } => ("lock:renew", "socket lock:renew"),
            LockAsk::Release { .. } => ("lock:release", "socket lock:release"),
            LockAsk::Get { .. } => ("lock:get", "socket lock:get"),
        },
        Err(_) => ("invalid", "socket invalid"),
    };
    let span = telemetry::span::socket_event(event, name, session.conn.as_str(), transport(socket));
    if span.is_disabled() {
        return span;
    }
    session.connect_trace.link(&span);
    match request {
        Ok(Request::Join { room, user, .. }) => {
            span.record("presence.operation", "join")
                .record("presence.room_id", room.as_str())
                .record("presence.user_id", user.as_str());
        }
        Ok(Request::Heartbeat { .. }) => drop(span.record("presence.operation", "heartbeat")),
        Ok(Request::Leave) => drop(span.record("presence.operation", "leave")),
        Ok(Request::Metadata(asked)) => {
            span.record("metadata.channel_name", asked.0.name.as_str())
                .record("metadata.channel_type", asked.0.kind.as_str());
        }
        Ok(Request::Lock(ask)) => {
            let channel = ask.channel();
            span.record("lock.channel_name", channel.name.as_str()).record("lock.channel_type", channel.kind.as_str());
            if let LockAsk::Acquire { lock, .. } | LockAsk::Renew { lock, .. } | LockAsk::Release { lock, .. } = &**ask
            {
                span.record("lock.name", lock.name.as_str());
            }
        }
        Err(_) => {}
    }
    span
}
