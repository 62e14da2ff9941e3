//! Time limits of a connection while it speaks HTTP. hyper has one timer for the head of a request, and it also runs between two
//! requests, where a client may wait for longer. A connection that became a WebSocket has no limit here: pings end it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::linger::Linger;

/// The time for the head of a request after its first byte, and on a new connection for the first byte.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may be idle between two requests. A head that began in the same read as the end of the request before
/// has this long too: hyper holds it, and only hyper knows.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// How long a client may take none of an answer.
const STALLED_FOR: Duration = Duration::from_secs(30);

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has sent nothing yet.
    New,
    /// A request is coming.
    Head,
    /// A request is being answered.
    Serving,
    /// The last request was answered.
    Idle,
    /// It is a WebSocket.
    Upgraded,
}

/// The stage of a connection, and a number that is another in each.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU32);

const STAGES: [Stage; 5] = [Stage::New, Stage::Head, Stage::Serving, Stage::Idle, Stage::Upgraded];

impl Progress {
    /// A request is complete but for its body.
    pub(super) fn serving(&self) {
        self.become_stage(Stage::Serving);
    }

    /// A request was answered.
    pub(super) fn answered(&self, upgrades: bool) {
        self.become_stage(if upgrades { Stage::Upgraded } else { Stage::Idle });
    }

    fn received(&self) {
        if matches!(self.stage(), Stage::New | Stage::Idle) {
            self.become_stage(Stage::Head);
        }
    }

    fn stage(&self) -> Stage {
        STAGES[self.number() as usize % STAGES.len()]
    }

    fn number(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Only the task of the connection calls this.
    fn become_stage(&self, stage: Stage) {
        let stages = STAGES.len() as u32;
        let round = self.number() / stages;
        let next = round.checked_add(1).and_then(|round| round.checked_mul(stages)).unwrap_or_default();
        self.0.store(next.saturating_add(stage as u32), Ordering::Relaxed);
    }
}

/// A connection with time limits.
pub(super) struct Timed<C> {
    connection: C,
    progress: Arc<Progress>,
    /// Runs while the client has to send something, for one stage.
    read: Option<(u32, Pin<Box<Sleep>>)>,
    /// Runs while the client takes nothing.
    write: Option<Pin<Box<Sleep>>>,
    /// Set once the gateway has ended its side.
    linger: Option<Linger>,
}

impl<C> Timed<C> {
    pub(super) fn new(connection: C, progress: Arc<Progress>) -> Self {
        Self { connection, progress, read: None, write: None, linger: None }
    }

    /// The client has sent nothing more. Ready as soon as it should have: with the end of the connection if no request has begun,
    /// otherwise with an error.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stage, number) = (self.progress.stage(), self.progress.number());
        let limit = match stage {
            Stage::New | Stage::Head => HEAD_WITHIN,
            Stage::Idle => IDLE_FOR,
            Stage::Serving | Stage::Upgraded => {
                self.read = None;
                return Poll::Pending;
            }
        };
        let timer = self.read.take().filter(|(of, _)| *of == number);
        let (_, timer) = self.read.insert(timer.unwrap_or_else(|| (number, Box::pin(sleep(limit)))));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(if stage == Stage::Head { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) })
    }

    /// Passes on the result of a write. A client that takes nothing for too long has an error.
    fn check_write<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() || self.progress.stage() == Stage::Upgraded {
            self.write = None;
            return polled;
        }
        let timer = self.write.get_or_insert_with(|| Box::pin(sleep(STALLED_FOR)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Timed<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.connection).poll_read(cx, buffer);
        if polled.is_pending() {
            return self.poll_late(cx);
        }
        if buffer.filled().len() > before {
            self.progress.received();
        }
        polled
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Timed<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.check_write(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.connection).poll_write_vectored(cx, slices);
        self.check_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { connection, progress, linger, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *connection).poll_shutdown(cx))?;
        }
        if progress.stage() != Stage::Upgraded {
            ready!(linger.get_or_insert_default().poll(connection, cx));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::Instant,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_stage_has_its_limit() {
        let (mut client, server) = duplex(1024);
        let progress = Arc::<Progress>::default();
        let mut timed = Timed::new(server, Arc::clone(&progress));
        let took = async |timed: &mut Timed<_>| {
            let (begun, mut byte) = (Instant::now(), [0]);
            let read = timed.read(&mut byte).await.map_err(|error| error.kind());
            (read, begun.elapsed().as_secs())
        };
        assert_eq!(took(&mut timed).await, (Ok(0), 5), "nothing was sent");
        for _ in 0..2 {
            client.write_all(b"G").await.unwrap();
            assert_eq!(took(&mut timed).await, (Ok(1), 0));
            assert_eq!(took(&mut timed).await, (Err(io::ErrorKind::TimedOut), 5), "the head is unfinished");
            progress.serving();
            assert!(tokio::time::timeout(Duration::from_secs(3600), took(&mut timed)).await.is_err());
            progress.answered(false);
            assert_eq!(took(&mut timed).await, (Ok(0), 60), "no further request came");
        }
        progress.answered(true);
        client.write_all(b"frame").await.unwrap();
        assert_eq!(took(&mut timed).await, (Ok(1), 0));
        for _ in 0..4 {
            assert_eq!(took(&mut timed).await, (Ok(1), 0));
        }
        assert!(tokio::time::timeout(Duration::from_secs(3600), took(&mut timed)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_is_not_given_more_time_by_each_byte() {
        let (mut client, server) = duplex(1024);
        let mut timed = Timed::new(server, Arc::default());
        let begun = Instant::now();
        let drip = async {
            loop {
                client.write_all(b"x").await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
        };
        let read = async {
            let mut byte = [0];
            while timed.read(&mut byte).await.is_ok() {}
        };
        tokio::select! { () = drip => {}, () = read => {} }
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_answer_is_given_up() {
        let (_client, server) = duplex(8);
        let progress = Arc::<Progress>::default();
        let mut timed = Timed::new(server, Arc::clone(&progress));
        let begun = Instant::now();
        assert!(timed.write_all(&[0; 64]).await.is_err());
        assert_eq!(begun.elapsed().as_secs(), 30);
        progress.answered(true);
        let write = timed.write_all(&[0; 64]);
        assert!(tokio::time::timeout(Duration::from_secs(3600), write).await.is_err(), "a WebSocket's pings do that");
    }
}
