//! What one TCP connection reads and writes, once it is the WebSocket of a session: it is not read from while the session has to
//! pause, a message that is begun has to be finished in time, what is written is counted, and a client that neither sends nor takes
//! anything is gone.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::frames::{Brought, Frames};
use crate::flow::{Flow, outward::Buffer};

/// The time to finish a message. Until then, it and its attachments are kept: up to 139 KiB.
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// The traffic of one connection.
pub(super) struct Traffic {
    flow: Arc<OnceLock<Arc<Flow>>>,
    /// Resolves when it may be read again. A connection that does not pause has none.
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    frames: Frames,
    /// When the unfinished message began.
    begun: Option<Instant>,
    /// Its deadline. Exists only while the client sends nothing.
    deadline: Option<Pin<Box<Sleep>>>,
    /// For how long the client may send nothing while something waits for it.
    silent: Duration,
    /// When it last sent something.
    heard: Instant,
    /// When it may be gone. Exists only while something waits for it.
    gone: Option<Pin<Box<Sleep>>>,
}

impl Traffic {
    pub(super) fn new(silent: Duration) -> Self {
        Self {
            flow: Arc::default(),
            pause: None,
            frames: Frames::default(),
            begun: None,
            deadline: None,
            silent,
            heard: Instant::now(),
            gone: None,
        }
    }

    /// Where the session is set once it is known.
    pub(super) fn flow(&self) -> Arc<OnceLock<Arc<Flow>>> {
        Arc::clone(&self.flow)
    }

    /// Whether the connection may be read.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(flow) = self.flow.get() else { return Poll::Ready(()) };
        if self.pause.is_none() && flow.is_readable() {
            return Poll::Ready(());
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(Arc::clone(flow).readable()));
        ready!(pause.as_mut().poll(cx));
        self.pause = None;
        Poll::Ready(())
    }

    /// These bytes were read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.heard = Instant::now();
        let Some(flow) = self.flow.get() else { return };
        let Brought { has_finished, others, pongs } = self.frames.read(bytes);
        if others > 0 {
            flow.charge(others);
        }
        if pongs > 0 {
            // The library answers each by itself, into a buffer without a bound.
            flow.sends(pongs);
        }
        self.deadline = None;
        if !self.frames.is_unfinished() {
            self.begun = None;
        } else if has_finished || self.begun.is_none() {
            self.begun = Some(Instant::now());
        }
    }

    /// There is nothing to read now. Resolves with an error when a message was not finished in time.
    pub(super) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(begun) = self.begun else { return Poll::Pending };
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(begun + MESSAGE_WITHIN)));
        deadline.as_mut().poll(cx).map(|()| io::Error::from(io::ErrorKind::TimedOut))
    }

    /// The client takes nothing now. Ready once it has sent nothing for so long that it missed a ping, at the latest; see S19 in
    /// docs/internals/libraries.md. A connection that is no WebSocket has other limits.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(flow) = self.flow.get() else { return Poll::Pending };
        let gone = self.gone.get_or_insert_with(|| Box::pin(sleep_until(self.heard + self.silent)));
        ready!(gone.as_mut().poll(cx));
        // It may have sent something since, which wakes only the reader.
        while self.heard + self.silent > Instant::now() {
            gone.as_mut().reset(self.heard + self.silent);
            ready!(gone.as_mut().poll(cx));
        }
        flow.end();
        Poll::Ready(())
    }

    /// Of `waiting` bytes so many were written.
    pub(super) fn wrote(&mut self, waiting: usize, written: &Poll<io::Result<usize>>) {
        if written.is_ready() {
            self.gone = None;
        }
        let Some(flow) = self.flow.get() else { return };
        flow.has_buffer(Buffer::Write, waiting);
        match written {
            Poll::Ready(Ok(bytes)) => flow.took(*bytes),
            // The reader has to notice that the peer is gone, although the session may be paused.
            Poll::Ready(Err(_)) => flow.end(),
            Poll::Pending => {}
        }
    }
}
