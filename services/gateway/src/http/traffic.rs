//! What one TCP connection reads and writes, once it is the WebSocket of a session: it is not read from while the session has to
//! pause, and what it writes is counted.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use crate::flow::{Flow, outward::Buffer};

/// The traffic of one connection.
#[derive(Default)]
pub(super) struct Traffic {
    flow: Arc<OnceLock<Arc<Flow>>>,
    /// Resolves when it may be read again. A connection that does not pause has none.
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Traffic {
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

    /// Of `waiting` bytes so many were written.
    pub(super) fn wrote(&self, waiting: usize, written: &Poll<io::Result<usize>>) {
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
