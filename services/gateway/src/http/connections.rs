//! The TCP connections. They have no Nagle delay, which made small events wait for 40 ms. The open ones are listed, so that a
//! gateway that stops can close them one by one: if the connection is closed rather than the Socket.IO session, clients
//! reconnect by themselves.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, RawFd},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
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

use super::traffic::Traffic;
use crate::flow::Flow;

/// The pause after `accept` failed, most often because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The steps in which all connections are closed.
const STEPS: u32 = 100;

/// Accepts connections and keeps a list of the open ones.
pub(crate) struct Connections {
    listener: TcpListener,
    open: Arc<Open>,
}

/// The open connections by number. A connection is listed only while its descriptor is open: it is removed under the lock
/// before the descriptor is closed.
#[derive(Default)]
pub(crate) struct Open {
    connections: Mutex<HashMap<u64, Entry>>,
    next: AtomicU64,
}

struct Entry {
    descriptor: RawFd,
    flow: Arc<OnceLock<Arc<Flow>>>,
    /// The Engine.IO id of the session whose WebSocket it is.
    session: Option<Box<str>>,
}

impl Entry {
    fn close(&self) {
        // First: a connection that is not read from would not notice that it is closed.
        self.flow.get().into_iter().for_each(|flow| flow.end());
        let _ = shutdown(self.descriptor, Shutdown::Both);
    }
}

impl Connections {
    /// The connections of `listener`, and the list of open ones.
    pub(crate) fn new(listener: TcpListener) -> (Self, Arc<Open>) {
        let open = Arc::<Open>::default();
        (Self { listener, open: Arc::clone(&open) }, open)
    }
}

impl Open {
    /// Closes all connections, including those that come meanwhile, evenly over `window`. Returns early when none is left.
    pub(crate) async fn close_over(&self, window: Duration) {
        for step in 0..STEPS {
            self.close_up_to(step);
            if self.lock().is_empty() {
                return;
            }
            sleep(window / STEPS).await;
        }
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self) {
        self.close_up_to(STEPS);
    }

    fn close_up_to(&self, step: u32) {
        self.lock().iter().filter(|(id, _)| step_of(**id) <= step).for_each(|(_, entry)| entry.close());
    }

    /// Records that a connection is the WebSocket of a session.
    pub(super) fn record_websocket(&self, connection: u64, session: &str) {
        if let Some(entry) = self.lock().get_mut(&connection) {
            entry.session = Some(session.into());
        }
    }

    /// Records that a connection is a WebSocket, and whose bytes it carries.
    pub(super) fn carry(&self, connection: u64, flow: Arc<Flow>) {
        if let Some(entry) = self.lock().get(&connection) {
            let _ = entry.flow.set(flow);
        }
    }

    /// Closes the WebSocket of a session, if it has one. O(connections), but rare.
    pub(super) fn close_session(&self, session: &str) {
        self.lock().values().filter(|entry| entry.session.as_deref() == Some(session)).for_each(Entry::close);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.connections.lock()
    }
}

/// The step in which a connection is closed. The number is multiplied to spread a few consecutive connections as well.
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
                    let connection =
                        Connection { stream, id, open: Arc::clone(&self.open), traffic: Traffic::default() };
                    let (descriptor, flow) = (connection.stream.as_raw_fd(), connection.traffic.flow());
                    self.open.lock().insert(id, Entry { descriptor, flow, session: None });
                    return (connection, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
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
    traffic: Traffic,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.traffic.poll_readable(cx));
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                self.traffic.read(&buffer.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending => self.traffic.poll_overdue(cx).map(Err),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.traffic.wrote(bytes.len(), &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.traffic.wrote(slices.iter().map(|slice| slice.len()).sum(), &written);
        written
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

/// The address at the other end of a connection and the connection's number, for handlers.
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
