//! The TCP connections: accepted without Nagle's delay (which made small events wait for 40 ms), and known, so that a
//! gateway that stops can close them one by one. Closing the connection rather than the Socket.IO session makes clients
//! come back by themselves.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, RawFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// A pause after `accept` failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// All connections are closed in so many steps.
const STEPS: u32 = 100;

/// Accepts connections and keeps a list of the open ones.
pub(crate) struct Connections {
    listener: TcpListener,
    open: Arc<Open>,
}

/// The open connections, by a number of their own. A connection stands here only while it has its descriptor open: it is
/// taken out under the lock before that is closed.
#[derive(Default)]
pub(crate) struct Open {
    connections: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
}

struct Entry {
    descriptor: RawFd,
    /// The Engine.IO id of the session whose WebSocket it is.
    session: Option<Box<str>>,
}

impl Entry {
    fn close(&self) {
        let _ = shutdown(self.descriptor, Shutdown::Both);
    }
}

impl Connections {
    /// Connections of `listener`, and their list.
    pub(crate) fn new(listener: TcpListener) -> (Self, Arc<Open>) {
        let open = Arc::<Open>::default();
        (Self { listener, open: Arc::clone(&open) }, open)
    }
}

impl Open {
    /// Closes all connections, evenly over `window`, those too that come meanwhile. Ends early when none is left.
    pub(crate) async fn close_over(&self, window: Duration) {
        for step in 0..STEPS {
            self.close_whose_step_came(step);
            if self.lock().is_empty() {
                return;
            }
            sleep(window / STEPS).await;
        }
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self) {
        self.close_whose_step_came(STEPS);
    }

    fn close_whose_step_came(&self, step: u32) {
        self.lock().iter().filter(|(id, _)| step_of(**id) <= step).for_each(|(_, entry)| entry.close());
    }

    /// The connection is the WebSocket of a session.
    pub(super) fn carries(&self, connection: u64, session: &str) {
        if let Some(entry) = self.lock().get_mut(&connection) {
            entry.session = Some(session.into());
        }
    }

    /// Closes the WebSocket of a session, if it has one. O(connections): that is rare.
    pub(super) fn close_session(&self, session: &str) {
        self.lock().values().filter(|entry| entry.session.as_deref() == Some(session)).for_each(Entry::close);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.connections.lock()
    }
}

/// When a connection is closed. Its number is multiplied, so that a few that came one after the other are spread too.
fn step_of(id: u64) -> u32 {
    (id.wrapping_mul(61) % u64::from(STEPS)) as u32
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    let id = self.open.next.fetch_add(1, Ordering::Relaxed);
                    self.open.lock().insert(id, Entry { descriptor: stream.as_raw_fd(), session: None });
                    return (Connection { stream, id, open: Arc::clone(&self.open) }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An accepted connection.
pub(crate) struct Connection {
    stream: TcpStream,
    id: u64,
    open: Arc<Open>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who is at the other end, and of which connection, as handlers ask for it.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) connection: u64,
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self { address: *stream.remote_addr(), connection: stream.io().id }
    }
}
