//! Sends events and acknowledgements to one client. If the socket's queue is full, an acknowledgement becomes pending: it is sent
//! as soon as there is room, and no event is sent before it. A client that takes none for 10 s, or has too many pending, is closed,
//! so that it reconnects and learns what it missed.

mod closing;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rollcall_protocol::ConnId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::{
    SendError, SocketError,
    extract::AckSender,
    handler::{FromMessageParts as _, Value},
    socket::{Sid, Socket},
};
use tokio::time::sleep;

use self::closing::Phase;
use super::{pending_acks::PendingAcks, task::OwnedTask};
use crate::{backoff::jitter, flow::Flow, http::transports::Transports};

const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// A socket whose queue stays full for this long is closed.
const FLUSH_FOR: Duration = Duration::from_secs(10);

/// Sends to one client.
pub(super) struct Outlet {
    conn: ConnId,
    socket: Weak<Socket>,
    /// The Engine.IO id of the connection, which may carry one session after the other.
    sid: Sid,
    transports: Arc<Transports>,
    flow: Arc<Flow>,
    /// A [`Phase`].
    phase: AtomicU8,
    /// Whether acknowledgements are pending.
    is_behind: AtomicBool,
    pending: Mutex<Pending>,
    close: Mutex<Option<OwnedTask>>,
}

#[derive(Default)]
struct Pending {
    acks: PendingAcks,
    /// The task that sends them.
    flusher: Option<OwnedTask>,
}

impl Outlet {
    pub(super) fn new(
        conn: ConnId,
        socket: Weak<Socket>,
        sid: Sid,
        transports: Arc<Transports>,
        flow: Arc<Flow>,
    ) -> Arc<Self> {
        let outlet = Arc::new(Self {
            conn,
            socket,
            sid,
            transports,
            flow,
            phase: AtomicU8::new(Phase::Open as u8),
            is_behind: AtomicBool::new(false),
            pending: Mutex::default(),
            close: Mutex::default(),
        });
        let debtor: Weak<Self> = Arc::downgrade(&outlet);
        outlet.flow.carries(debtor);
        outlet
    }

    /// Sends an event; returns whether there was room for it. An event for a client that is gone is dropped.
    pub(super) fn emit(self: &Arc<Self>, event: &str, message: &RawValue) -> bool {
        let Some(socket) = self.socket() else { return true };
        let bytes = event.len() + message.get().len();
        !self.is_behind.load(Ordering::Relaxed) && self.send(bytes, || socket.emit(event, message))
    }

    /// Sends an acknowledgement, now or as soon as there is room.
    pub(super) fn acknowledge(self: &Arc<Self>, ack_id: i64, answer: &impl Serialize) {
        if !self.is_open() {
            return;
        }
        match to_raw_value(answer) {
            Ok(answer) => self.acknowledge_with(ack_id, answer),
            Err(_) => self.close_slow_consumer("an acknowledgement could not be encoded"),
        }
    }

    /// The same with an answer that is encoded already.
    pub(super) fn acknowledge_with(self: &Arc<Self>, ack_id: i64, answer: Box<RawValue>) {
        if self.is_open() && (self.is_behind.load(Ordering::Relaxed) || !self.try_acknowledge(ack_id, &answer)) {
            self.keep(ack_id, answer);
        }
    }

    /// Returns whether there was room.
    fn try_acknowledge(self: &Arc<Self>, ack_id: i64, answer: &RawValue) -> bool {
        let Some(socket) = self.socket() else { return true };
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut Value::Str("".into(), None), &Some(ack_id));
        self.send(answer.get().len(), || ack.send(answer))
    }

    /// Returns whether there was room for so many bytes, and for a packet more.
    fn send(self: &Arc<Self>, bytes: usize, send: impl FnOnce() -> Result<(), SendError>) -> bool {
        if !self.flow.has_room_for(bytes) {
            return false;
        }
        // Before it is sent: it may be written at once.
        self.flow.sends(bytes);
        let sent = send();
        if sent.is_err() {
            self.flow.did_not_send(bytes);
        }
        self.flow.list();
        !matches!(sent, Err(SendError::Socket(SocketError::InternalChannelFull)))
    }

    fn keep(self: &Arc<Self>, ack_id: i64, answer: Box<RawValue>) {
        let bytes = answer.get().len();
        let mut pending = self.pending.lock();
        // What was pending is dropped at its end, and what comes later would be left.
        if !self.is_open() {
            return;
        }
        if !pending.acks.push(ack_id, answer) {
            drop(pending);
            return self.close_slow_consumer("too many acknowledgements are pending");
        }
        self.is_behind.store(true, Ordering::Relaxed);
        self.flow.keeps(bytes);
        if pending.flusher.is_none() {
            pending.flusher = Some(OwnedTask::spawn(flush(Arc::downgrade(self))));
        }
        drop(pending);
        self.flow.list();
    }

    /// The socket, unless its session has ended or is closing. socketioxide would still send an acknowledgement of an ended
    /// session, although another session may have begun on the same connection.
    fn socket(&self) -> Option<Arc<Socket>> {
        if self.is_open() { self.socket.upgrade() } else { None }
    }

    /// Resolves when the client may be answered more, or is not sent anything any more.
    pub(super) async fn writable(&self) {
        loop {
            let changed = self.flow.change();
            if !self.is_open() || !self.flow.is_blocked() {
                return;
            }
            changed.await;
        }
    }

    /// The flow of its session.
    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}

async fn flush(outlet: Weak<Outlet>) {
    let mut moved_at = Instant::now();
    loop {
        sleep(jitter(FLUSH_EVERY)).await;
        let Some(outlet) = outlet.upgrade() else { return };
        // Dropped after the lock: dropping the last reference to a socket ends its session, which locks `pending`.
        let _socket = outlet.socket.upgrade();
        let mut pending = outlet.pending.lock();
        let before = pending.acks.bytes();
        let flushed = pending.acks.flush(|ack_id, answer| outlet.try_acknowledge(ack_id, answer));
        outlet.flow.keeps_less(before - pending.acks.bytes());
        match flushed {
            None => {
                outlet.is_behind.store(false, Ordering::Relaxed);
                pending.flusher = None;
                return;
            }
            Some(true) => moved_at = Instant::now(),
            Some(false) => {}
        }
        drop(pending);
        if moved_at.elapsed() > FLUSH_FOR {
            return outlet.close_slow_consumer("no acknowledgement was taken for 10 s");
        }
    }
}
