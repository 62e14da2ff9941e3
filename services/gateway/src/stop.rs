//! How a gateway ends: its sockets are closed over a window, their leaves are carried out, and then it deregisters.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bus::Bus;
use socketioxide::SocketIo;
use tokio::time::sleep;

use crate::{
    http::{connections::Open, gate::Gate},
    pending::Pending,
    socket::client::Gateway,
};

/// How long the leaves of the last sockets may take.
const LAST_LEAVES: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a gateway that ends has to close.
pub(crate) struct Stop {
    pub(crate) bus: Arc<Bus>,
    pub(crate) open: Arc<Open>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) io: SocketIo,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) pending: Arc<Pending>,
    /// The window.
    pub(crate) drain: Duration,
}

impl Stop {
    /// Carries it out. Takes at most the window and three seconds.
    pub(crate) async fn carry_out(self) {
        let begun = Instant::now();
        self.open.close_over(self.drain).await;
        // A client that is told by Socket.IO that its session ended does not come back by itself: from here on no one has a
        // connection, or gets one.
        self.gate.shut();
        self.open.close_all();
        let unsaid = || self.gateway.sessions() + self.pending.open();
        while unsaid() > 0 && begun.elapsed() < self.drain + LAST_LEAVES {
            // Long-polling sessions between two polls. (`SocketIo::close` would end them without a word to their handlers.)
            for socket in self.io.sockets() {
                let _ = socket.disconnect();
            }
            sleep(LOOK_EVERY).await;
        }
        match unsaid() {
            0 => self.bus.deregister().await,
            // The lease runs out and the reaper evicts the rest, as those of a gateway that died.
            count => tracing::warn!(count, "stopped before all leaves were taken; the reaper will evict the rest"),
        }
    }
}
