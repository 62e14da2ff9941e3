//! One TCP connection: it is listed while it is open, and what it reads and writes passes its [`Traffic`].

use std::{
    io,
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::sys::socket::{Shutdown, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    address::Source,
    connections::{Listing, Open, TooMany},
    traffic::Traffic,
};

/// A listed connection.
pub(super) struct Connection {
    /// Before the stream: it is dropped before the descriptor is closed.
    listing: Listing,
    stream: TcpStream,
    traffic: Traffic,
}

impl Connection {
    /// Lists a connection, or returns it if there are too many. Without a source it counts for no address. Once it is a WebSocket it
    /// may be `silent` for so long while something waits for it.
    pub(super) fn open(
        stream: TcpStream,
        open: &Arc<Open>,
        source: Option<Source>,
        silent: Duration,
    ) -> Result<Self, (TcpStream, TooMany)> {
        let traffic = Traffic::new(silent);
        match open.add(&stream, traffic.flow(), source) {
            Ok(listing) => Ok(Self { listing, stream, traffic }),
            Err(too_many) => Err((stream, too_many)),
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.listing.connection()
    }

    /// Passes on the result of a write of `waiting` bytes. A client that neither takes nor sends anything is gone.
    fn wrote(
        &mut self,
        waiting: usize,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.traffic.wrote(waiting, &written);
        if written.is_pending() {
            ready!(self.traffic.poll_gone(cx));
            // Its reader notices it too. Nothing else would: see S19 in docs/internals/libraries.md.
            let _ = shutdown(self.stream.as_raw_fd(), Shutdown::Both);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
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
        self.wrote(bytes.len(), written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(slices.iter().map(|slice| slice.len()).sum(), written, cx)
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

#[cfg(test)]
mod tests {
    use nix::sys::socket::{setsockopt, sockopt};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::{Instant, timeout},
    };

    use super::*;
    use crate::flow::{Flow, backlog::Backlog};

    const SILENT: Duration = Duration::from_millis(400);

    /// A WebSocket that is full, and its client.
    async fn full() -> (Connection, TcpStream, Arc<Flow>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        setsockopt(&stream, sockopt::SndBuf, &4096).unwrap();
        let open = Open::new(1, 1);
        let mut connection = Connection::open(stream, &open, None, SILENT).map_err(|(_, why)| why).unwrap();
        let flow = Flow::new(&Backlog::new(1024 * 1024));
        open.carry(connection.id(), Arc::clone(&flow));
        while timeout(SILENT / 4, connection.write_all(&[0; 4096])).await.is_ok() {}
        (connection, client, flow)
    }

    #[tokio::test]
    async fn a_client_that_neither_takes_nor_sends_anything_is_gone() {
        let (mut connection, _client, flow) = full().await;
        let begun = Instant::now();
        let error = connection.write(&[0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() <= SILENT, "it counts from the last byte that it sent");
        assert!(flow.has_ended() && connection.write(&[0]).await.is_err());
        let read = timeout(SILENT, connection.read(&mut [0])).await.unwrap();
        assert_eq!(read.unwrap_or_default(), 0, "its reader notices");
    }

    #[tokio::test]
    async fn a_client_that_still_sends_or_takes_again_is_not_gone() {
        let (mut connection, mut client, flow) = full().await;
        for _ in 0..6 {
            client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
            connection.read_exact(&mut [0; 6]).await.unwrap();
            assert!(timeout(SILENT / 3, connection.write(&[0])).await.is_err(), "it waits");
        }
        let taking =
            tokio::spawn(async move { while client.read(&mut [0; 64 * 1024]).await.unwrap_or_default() > 0 {} });
        connection.write_all(&[0; 64 * 1024]).await.unwrap();
        assert!(!flow.has_ended());
        drop(connection);
        taking.await.unwrap();
    }

    /// One write waits all the time, as that of a WebSocket does: nothing but its timer wakes it.
    #[tokio::test]
    async fn a_client_that_vanishes_after_it_sent_something_is_gone() {
        let (connection, mut client, _) = full().await;
        let (mut reader, mut writer) = tokio::io::split(connection);
        let writing = tokio::spawn(async move { writer.write(&[0]).await });
        tokio::time::sleep(SILENT / 4).await;
        client.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
        reader.read_exact(&mut [0; 6]).await.unwrap();
        let heard = Instant::now();
        let error = timeout(3 * SILENT, writing).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(heard.elapsed() > SILENT / 2, "it counts from the last byte that it sent");
    }
}
