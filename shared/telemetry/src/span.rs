//! The list of spans: every name and attribute, each in one place. Identifiers are attributes; payloads, states and
//! credentials never are.

use opentelemetry::KeyValue;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::TRACE;

/// One event of a client, the root of its trace: `socket presence:join` and so on. Attributes that are known are set here:
/// recording them later costs the same again.
pub fn socket_event(event: &'static str, conn: &str, transport: &'static str) -> Span {
    tracing::info_span!(
        target: TRACE, "socket", otel.name = %format_args!("socket {event}"), otel.kind = "server", otel.status_code = Empty,
        socket.event = event, socket.connection_id = conn, socket.transport = transport,
        presence.operation = event.strip_prefix("presence:"), presence.room_id = Empty, presence.user_id = Empty, presence.conn_id = conn,
        presence.epoch = Empty, presence.state_changed = Empty, presence.snapshot_size = Empty, presence.state_bytes = Empty,
        "error.type" = Empty, metadata.channel_name = Empty, metadata.channel_type = Empty, lock.channel_name = Empty,
        lock.channel_type = Empty, lock.name = Empty, lock.waited_ms = Empty, lock.retries = Empty, lock.fence = Empty,
    )
}

/// A socket connected: `socket.connect`. The user agent is what the client says of itself, cut to a bound by its caller.
pub fn socket_connect(conn: &str, transport: &'static str, address: &str, user_agent: Option<&str>) -> Span {
    tracing::info_span!(
        target: TRACE, "socket.connect", otel.kind = "server", socket.event = "connect", socket.connection_id = conn,
        socket.transport = transport, client.address = address, user_agent.original = user_agent,
    )
}

/// A socket disconnected: `socket.disconnect`, linked to its connect.
pub fn socket_disconnect(conn: &str, transport: &'static str, reason: &str, duration_ms: u64) -> Span {
    tracing::info_span!(
        target: TRACE, "socket.disconnect", otel.kind = "server", socket.event = "disconnect",
        socket.connection_id = conn, socket.transport = transport, socket.disconnect_reason = reason,
        socket.duration_ms = duration_ms as i64,
    )
}

/// A message leaves for another service: `publish <subject>`.
pub fn publish(subject: &str, destination: &str, count: usize) -> Span {
    tracing::info_span!(
        target: TRACE, "publish", otel.name = %format_args!("publish {subject}"), otel.kind = "producer",
        otel.status_code = Empty, "error.type" = Empty, messaging.system = "redis",
        messaging.destination.name = destination, "messaging.operation.type" = "send",
        messaging.batch.message_count = count as i64,
    )
}

/// A room's event reaches the sockets of one gateway: `deliver presence.events`.
pub fn deliver(destination: &str, room: &str, recipients: usize) -> Span {
    tracing::info_span!(
        target: TRACE, "deliver presence.events", otel.kind = "consumer", messaging.system = "redis",
        messaging.destination.name = destination, "messaging.operation.type" = "process", presence.room_id = room,
        presence.recipients = recipients as i64,
    )
}

/// presence-state carries out a command: `presence.join`, `presence.restore`, `presence.audit`, `presence.reap`, …
/// `presence.connections` is the number of members in a restore, `presence.rooms` the number of rooms that a reap changed.
pub fn presence(verb: &'static str) -> Span {
    tracing::info_span!(
        target: TRACE, "presence", otel.name = %format_args!("presence.{verb}"), otel.kind = "consumer",
        otel.status_code = Empty, "error.type" = Empty, messaging.system = "redis", presence.operation = verb,
        presence.room_id = Empty, presence.user_id = Empty, presence.conn_id = Empty, presence.epoch = Empty,
        presence.state_changed = Empty, presence.snapshot_size = Empty, presence.connections = Empty,
        presence.rooms = Empty, presence.evicted = Empty,
        presence.reason = Empty, presence.remaining = Empty,
    )
}

/// presence-state carries out a command on a channel's metadata: `metadata.set`, `metadata.get`, …
pub fn metadata(verb: &'static str) -> Span {
    tracing::info_span!(
        target: TRACE, "metadata", otel.name = %format_args!("metadata.{verb}"), otel.kind = "consumer",
        otel.status_code = Empty, "error.type" = Empty, messaging.system = "redis", metadata.operation = verb,
        metadata.channel_name = Empty, metadata.channel_type = Empty, metadata.items = Empty,
        metadata.revision.expected = Empty, metadata.revision.actual = Empty, metadata.conflict = Empty,
        presence.conn_id = Empty,
    )
}

/// presence-state carries out a command on a lock: `lock.acquire`, `lock.release`, …
pub fn lock(verb: &'static str) -> Span {
    tracing::info_span!(
        target: TRACE, "lock", otel.name = %format_args!("lock.{verb}"), otel.kind = "consumer",
        otel.status_code = Empty, "error.type" = Empty, messaging.system = "redis", lock.operation = verb,
        lock.channel_name = Empty, lock.channel_type = Empty, lock.name = Empty, lock.outcome = Empty,
        lock.holder = Empty, lock.fence = Empty, lock.ahead = Empty, presence.conn_id = Empty,
    )
}

/// A write expected another revision than the stored one, of the channel or of the item `key`. An event of the span, not a
/// failure: the service works.
pub fn metadata_conflict(span: &Span, key: Option<&str>, expected: u64, actual: u64) {
    if span.is_disabled() {
        return;
    }
    span.record("metadata.conflict", true)
        .record("metadata.revision.expected", expected as i64)
        .record("metadata.revision.actual", actual as i64);
    span.add_event(
        "metadata.conflict",
        key.map(|key| KeyValue::new("metadata.key", key.to_owned())).into_iter().collect(),
    );
}

/// A script runs in Redis: `EVALSHA presence_join`. As for every call to Redis, there is no span without a `parent`. A call
/// that carries more than one command (`batch`) is a pipeline and has the script's name as `redis.pipeline`.
pub fn script(parent: &Span, name: &'static str, key: &str, batch: usize) -> Span {
    if parent.is_disabled() {
        return Span::none();
    }
    tracing::info_span!(
        target: TRACE, parent: parent, "redis", otel.name = %format_args!("EVALSHA {name}"), otel.kind = "client",
        otel.status_code = Empty, "error.type" = Empty, db.system.name = "redis", db.system = "redis",
        db.operation.name = "EVALSHA", db.stored_procedure.name = name, db.operation.batch.size = batch as i64,
        redis.command = "evalsha", redis.command_count = batch as i64, redis.pipeline = (batch > 1).then_some(name),
        redis.key = key, redis.latency_ms = Empty,
    )
}

/// A single command is sent to Redis.
pub fn command(parent: &Span, name: &'static str, key: &str) -> Span {
    if parent.is_disabled() {
        return Span::none();
    }
    tracing::info_span!(
        target: TRACE, parent: parent, "redis", otel.name = name, otel.kind = "client", otel.status_code = Empty,
        "error.type" = Empty, db.system.name = "redis", db.system = "redis", db.operation.name = name,
        redis.command = name, redis.key = key, redis.latency_ms = Empty,
    )
}

/// The reaper checks its partitions: `reaper.cycle`.
pub fn reaper_cycle() -> Span {
    tracing::info_span!(
        target: TRACE, parent: None, "reaper.cycle", otel.kind = "internal", otel.status_code = Empty,
        "error.type" = Empty, reaper.scanned = Empty, reaper.evicted = Empty, reaper.rooms_changed = Empty,
        reaper.lag_ms = Empty,
    )
}

/// Marks `span` as failed: status Error, `error.type`, an exception event.
pub fn fail(span: &Span, kind: &str, message: &str) {
    span.record("otel.status_code", "ERROR");
    refuse(span, kind, message);
}

/// Marks the span of a request that was refused for what its client sent: `error.type`, an exception event, and no status. As in
/// OpenTelemetry's conventions for HTTP, what a client does wrong is no failure of the server; the collector keeps all failures,
/// and a client could make it keep any number of spans.
pub fn refuse(span: &Span, kind: &str, message: &str) {
    if span.is_disabled() {
        return;
    }
    span.record("error.type", kind);
    span.add_event(
        "exception",
        vec![KeyValue::new("exception.type", kind.to_owned()), KeyValue::new("exception.message", message.to_owned())],
    );
}
