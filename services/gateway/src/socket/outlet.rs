//! The way out to one client: events, acknowledgements, and the close of its connection. An acknowledgement that finds the
//! socket's queue full is pending: it is sent as soon as there is room, and events wait behind it. A client that takes none
//! for ten seconds, or has too many pending, is closed: it must learn that it missed something.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use protocol::ConnId;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use socketioxide::{
    SendError, SocketError,
    extract::{AckSender, SocketRef},
    handler::{FromMessageParts as _, Value},
    socket::{Sid, Socket},
};
use telemetry::metrics;
use tokio::time::sleep;

use super::{pending_acks::PendingAcks, task::OwnedTask};
use crate::{backoff::jitter, http::transports::Transports};

const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// A socket whose queue stays full for this long is closed.
const FLUSH_FOR: Duration = Duration::from_secs(10);
/// A session ends with a packet of its own, which needs room too. At the latest the ping of Engine.IO ends it.
const CLOSE_EVERY: Duration = Duration::from_millis(250);
const CLOSE_TRIES: u32 = 240;

/// Life of the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Open,
    /// The transport was closed, the session has not ended yet. Nothing is sent any more.
    Closing,
    /// The session has ended. Its connection may carry another one by now.
    Ended,
}

/// See the module.
pub(super) struct Outlet {
    conn: ConnId,
    socket: Weak<Socket>,
    /// Of the connection, which may carry one session after the other.
    sid: Sid,
    transports: Arc<Transports>,
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
    /// Sends them. Ends with them.
    flusher: Option<OwnedTask>,
}

impl Outlet {
    pub(super) fn new(conn: ConnId, socket: Weak<Socket>, sid: Sid, transports: Arc<Transports>) -> Arc<Self> {
        Arc::new(Self {
            conn,
            socket,
            sid,
            transports,
            phase: AtomicU8::new(Phase::Open as u8),
            is_behind: AtomicBool::new(false),
            pending: Mutex::default(),
            close: Mutex::default(),
        })
    }

    /// Sends an event; says whether there was room for it. An event for a client that is gone is dropped.
    pub(super) fn emit(&self, event: &str, payload: &(impl Serialize + ?Sized)) -> bool {
        self.socket().is_none_or(|socket| {
            !self.is_behind.load(Ordering::Relaxed)
                && !matches!(socket.emit(event, payload), Err(SendError::Socket(SocketError::InternalChannelFull)))
        })
    }

    /// Sends an acknowledgement, now or as soon as there is room.
    pub(super) fn acknowledge(self: &Arc<Self>, ack_id: i64, answer: &impl Serialize) {
        if !self.is_open() || (!self.is_behind.load(Ordering::Relaxed) && self.try_acknowledge(ack_id, answer)) {
            return;
        }
        match to_raw_value(answer) {
            Ok(answer) => self.keep(ack_id, answer),
            Err(_) => self.close_slow_consumer("an acknowledgement could not be kept"),
        }
    }

    /// Says whether there was room.
    fn try_acknowledge(&self, ack_id: i64, answer: &impl Serialize) -> bool {
        let Some(socket) = self.socket() else { return true };
        let Ok(ack) = AckSender::from_message_parts(&socket, &mut Value::Str("".into(), None), &Some(ack_id));
        !matches!(ack.send(answer), Err(SendError::Socket(SocketError::InternalChannelFull)))
    }

    fn keep(self: &Arc<Self>, ack_id: i64, answer: Box<RawValue>) {
        let mut pending = self.pending.lock();
        if !pending.acks.push(ack_id, answer) {
            drop(pending);
            return self.close_slow_consumer("too many acknowledgements are pending");
        }
        self.is_behind.store(true, Ordering::Relaxed);
        if pending.flusher.is_none() {
            pending.flusher = Some(OwnedTask::spawn(flush(Arc::downgrade(self))));
        }
    }

    /// Closes a client that does not take what it must know, by its transport, so that it comes back.
    pub(super) fn close_slow_consumer(&self, why: &'static str) {
        if self.leave_open(Phase::Closing) {
            metrics::slow_reader();
            tracing::warn!(conn = %self.conn, why, "closing a socket whose client reads too slowly");
            self.close_transport();
        }
    }

    /// Closes the client by its transport.
    pub(super) fn close(&self) {
        if self.leave_open(Phase::Closing) {
            self.close_transport();
        }
    }

    fn close_transport(&self) {
        *self.pending.lock() = Pending::default();
        self.transports.end(self.sid.as_str());
        *self.close.lock() = Some(OwnedTask::spawn(disconnect(Weak::clone(&self.socket))));
        // It may have ended meanwhile, and found nothing to undo.
        if self.phase() == Phase::Ended {
            self.transports.forget(self.sid.as_str());
            *self.close.lock() = None;
        }
    }

    /// The session has ended; says whether that is new.
    pub(super) fn end(&self) -> bool {
        let before = self.phase.swap(Phase::Ended as u8, Ordering::SeqCst);
        if before == Phase::Ended as u8 {
            return false;
        }
        self.transports.forget(self.sid.as_str());
        *self.pending.lock() = Pending::default();
        *self.close.lock() = None;
        true
    }

    /// The socket, unless its session has ended or is about to. socketioxide would send an acknowledgement of a session that
    /// has ended, and on the same connection another one may have begun.
    fn socket(&self) -> Option<Arc<Socket>> {
        if self.is_open() { self.socket.upgrade() } else { None }
    }

    /// Whether the client is sent anything.
    pub(super) fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    fn phase(&self) -> Phase {
        [Phase::Open, Phase::Closing, Phase::Ended][usize::from(self.phase.load(Ordering::SeqCst))]
    }

    fn leave_open(&self, to: Phase) -> bool {
        self.phase.compare_exchange(Phase::Open as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

async fn flush(outlet: Weak<Outlet>) {
    let mut moved_at = Instant::now();
    loop {
        sleep(jitter(FLUSH_EVERY)).await;
        let Some(outlet) = outlet.upgrade() else { return };
        // Held until after the lock: the last reference to a socket ends its session, which clears what is pending.
        let _socket = outlet.socket.upgrade();
        let mut pending = outlet.pending.lock();
        match pending.acks.flush(|ack_id, answer| outlet.try_acknowledge(ack_id, &answer)) {
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
            return outlet.close_slow_consumer("it took no acknowledgement");
        }
    }
}

async fn disconnect(socket: Weak<Socket>) {
    for _ in 0..CLOSE_TRIES {
        let Some(socket) = socket.upgrade().filter(|socket| socket.connected()) else { return };
        if SocketRef::from(socket).disconnect().is_ok() {
            return;
        }
        sleep(jitter(CLOSE_EVERY)).await;
    }
}
