//! Large requests of a client wait for their turn, and its socket is not read meanwhile.

use rollcall_protocol::{Code, Fault};
use tokio::select;

use super::Outlet;
use crate::flow::{pace::LARGE, window::UnderWay};

impl Outlet {
    /// Waits until the client may write so many bytes, while it is not read. A client that is gone waits for nothing.
    ///
    /// # Errors
    /// `OVERLOADED`: too much large work waits. `UNAVAILABLE`: the client is gone.
    pub(in crate::socket) async fn turn_to_write(&self, bytes: usize) -> Result<(), Fault> {
        if bytes < LARGE { Ok(()) } else { self.in_line(self.flow.backlog().pace.wait_to_write(bytes)).await }
    }

    /// The same for an answer.
    ///
    /// # Errors
    /// As [`turn_to_write`](Self::turn_to_write).
    pub(in crate::socket) async fn turn_to_answer(&self, bytes: usize) -> Result<(), Fault> {
        if bytes < LARGE { Ok(()) } else { self.in_line(self.flow.backlog().pace.wait_to_answer(bytes)).await }
    }

    /// Waits until a write that had its turn may be under way.
    ///
    /// # Errors
    /// As [`turn_to_write`](Self::turn_to_write).
    pub(in crate::socket) async fn begin_write(&self, bytes: usize) -> Result<UnderWay, Fault> {
        if bytes < LARGE {
            Ok(UnderWay::uncounted())
        } else {
            self.in_line(self.flow.backlog().pace.begin_write(bytes)).await
        }
    }

    /// Waits for a turn, while the client is not read. A client that is gone waits for nothing.
    ///
    /// # Errors
    /// Those of `turn`. `UNAVAILABLE`: the client is gone.
    pub(in crate::socket) async fn in_line<T>(&self, turn: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let _paused = self.flow.pause_in_line();
        select! {
            biased;
            result = turn => result,
            () = self.gone() => Err(Fault::new(Code::Unavailable, "the connection was closed")),
        }
    }

    async fn gone(&self) {
        loop {
            let changed = self.flow.change();
            if !self.is_open() {
                return;
            }
            changed.await;
        }
    }
}
