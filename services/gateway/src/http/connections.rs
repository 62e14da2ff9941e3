//! The TCP connections: accepted without Nagle's delay (which made small events wait for 40 ms), and known, so that a
//! gateway that stops can close them one by one. Closing the connection rather than the Socket.IO session makes clients
//! come back by themselves.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// A pause after `accept` failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and keeps a list of the open ones.
pub(crate) struct Connections {
    listener: TcpListener,
    open: Arc<Open>,
}

/// The open connections.
#[derive(Default)]
pub(crate) struct Open {
    streams: Mutex<HashMap<u64, Weak<TcpStream>>>,
    next: AtomicU64,
}

impl Connections {
    /// Connections of `listener`, and their list.
    pub(crate) fn new(listener: TcpListener) -> (Self, Arc<Open>) {
        let open = Arc::<Open>::default();
        (Self { listener, open: Arc::clone(&open) }, open)
    }
}

impl Open {
    /// Closes all connections, evenly over `window`.
    pub(crate) async fn close_over(&self, window: Duration) {
        let streams: Vec<_> = self.lock().values().cloned().collect();
        let steps = u32::try_from(streams.len()).unwrap_or(u32::MAX).clamp(1, 100);
        for some in streams.chunks(streams.len().div_ceil(steps as usize).max(1)) {
            for stream in some.iter().filter_map(Weak::upgrade) {
                let _ = socket2::SockRef::from(&*stream).shutdown(Shutdown::Both);
            }
            sleep(window / steps).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<TcpStream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    let stream = Arc::new(stream);
                    let id = self.open.next.fetch_add(1, Ordering::Relaxed);
                    self.open.lock().insert(id, Arc::downgrade(&stream));
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
    stream: Arc<TcpStream>,
    id: u64,
    open: Arc<Open>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

/// Who is at the other end, as handlers ask for it.
#[derive(Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Connections>> for PeerAddress {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self(*stream.remote_addr())
    }
}
