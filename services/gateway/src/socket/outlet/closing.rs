//! The end of a client's connection: its session ends, or its transport is closed.

use std::{
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use rollcall_telemetry::metrics::{self, Refusal};
use socketioxide::{extract::SocketRef, socket::Socket};
use tokio::time::sleep;

use super::Outlet;
use crate::{backoff::jitter, flow::backlog::Debtor, socket::task::OwnedTask};

/// Ending a session sends a packet, which needs room in the queue too. If there is none, the Engine.IO ping timeout ends it.
const CLOSE_EVERY: Duration = Duration::from_millis(250);
const CLOSE_TRIES: u32 = 240;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Open,
    /// The transport was closed and the session has not ended yet. Nothing is sent any more.
    Closing,
    /// The session has ended. Its connection may carry another one by now.
    Ended,
}

impl Outlet {
    /// Closes the transport of a client that does not take what it must not miss, so that it reconnects.
    pub(in crate::socket) fn close_slow_consumer(&self, why: &'static str) {
        self.close_debtor(Refusal::SocketBacklog, why);
    }

    fn close_debtor(&self, refusal: Refusal, why: &'static str) {
        if self.leave_open(Phase::Closing) {
            metrics::slow_reader();
            metrics::refused(refusal);
            tracing::warn!(conn = %self.conn, owed = self.flow.owed(), why, "closing slow client");
            self.close_transport();
        }
    }

    /// Closes the client's transport.
    pub(in crate::socket) fn close(&self) {
        if self.leave_open(Phase::Closing) {
            self.close_transport();
        }
    }

    fn close_transport(&self) {
        self.drop_pending();
        self.flow.end();
        self.transports.end(self.sid.as_str());
        *self.close.lock() = Some(OwnedTask::spawn(disconnect(Weak::clone(&self.socket))));
        // The session may have ended meanwhile, before there was anything to undo.
        if self.phase() == Phase::Ended {
            self.transports.forget(self.sid.as_str());
            *self.close.lock() = None;
        }
    }

    /// The session has ended; returns `false` if it had before.
    pub(in crate::socket) fn end(&self) -> bool {
        let before = self.phase.swap(Phase::Ended as u8, Ordering::SeqCst);
        if before == Phase::Ended as u8 {
            return false;
        }
        self.transports.forget(self.sid.as_str());
        self.drop_pending();
        self.flow.wake();
        *self.close.lock() = None;
        true
    }

    fn drop_pending(&self) {
        let mut pending = self.pending.lock();
        let dropped = std::mem::take(&mut *pending);
        self.flow.keeps_less(dropped.acks.bytes());
    }

    /// Whether the client is sent anything.
    pub(in crate::socket) fn is_open(&self) -> bool {
        self.phase() == Phase::Open
    }

    fn phase(&self) -> Phase {
        [Phase::Open, Phase::Closing, Phase::Ended][usize::from(self.phase.load(Ordering::SeqCst))]
    }

    fn leave_open(&self, to: Phase) -> bool {
        self.phase.compare_exchange(Phase::Open as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

impl Debtor for Outlet {
    fn close(&self, refusal: Refusal) {
        let why = match refusal {
            Refusal::ProcessBacklog => "the process is over its budget, and this is one of the largest debtors",
            _ => "it took nothing for 10 s",
        };
        self.close_debtor(refusal, why);
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
