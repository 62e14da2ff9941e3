//! The end of a connection that the gateway ended while the client may still send. If it were closed while bytes are unread, the
//! kernel would reset it, and the client could lose the last answer: that its head or its body is too large, say.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Sleep, sleep},
};

/// How long such a connection is read from, at most.
const LINGER_FOR: Duration = Duration::from_secs(1);
/// The most bytes that are read from it.
const LINGER_BYTES: usize = 256 * 1024;

/// What is left of the limits.
pub(super) struct Linger {
    bytes: usize,
    timer: Pin<Box<Sleep>>,
}

impl Default for Linger {
    fn default() -> Self {
        Self { bytes: LINGER_BYTES, timer: Box::pin(sleep(LINGER_FOR)) }
    }
}

impl Linger {
    /// Reads what the client still sends. Ready when the client has ended the connection as well, or a limit is reached.
    pub(super) fn poll<C: AsyncRead + Unpin>(&mut self, connection: &mut C, cx: &mut Context<'_>) -> Poll<()> {
        while self.bytes > 0 {
            let mut unread = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut unread);
            match Pin::new(&mut *connection).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.bytes = self.bytes.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex},
        net::{TcpListener, TcpStream},
        time::Instant,
    };

    use super::*;

    async fn end(connection: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        connection.shutdown().await.unwrap();
        let mut linger = Linger::default();
        poll_fn(|cx| linger.poll(connection, cx)).await;
    }

    #[tokio::test]
    async fn a_client_that_still_sends_reads_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(&[b'x'; 32 * 1024]).await.unwrap();
        let answers = async move {
            server.read_exact(&mut [0; 1024]).await.unwrap();
            server.write_all(b"too large").await.unwrap();
            end(&mut server).await;
        };
        let sends = async move {
            let mut text = String::new();
            client.readable().await.unwrap();
            client.write_all(b"more").await.unwrap();
            client.read_to_string(&mut text).await.unwrap();
            text
        };
        assert_eq!(tokio::join!(answers, sends).1, "too large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_the_gateway_ended_is_soon_closed() {
        let (client, mut server) = duplex(1024);
        let begun = Instant::now();
        end(&mut server).await;
        assert_eq!(begun.elapsed(), LINGER_FOR, "the client is silent");
        drop(client);

        let (mut client, mut server) = duplex(1024);
        let flood = async { while client.write_all(&[0; 1024]).await.is_ok() {} };
        tokio::select! { () = flood => {}, () = end(&mut server) => {} }
        assert_eq!(begun.elapsed(), LINGER_FOR, "the client sends without end");
    }
}
