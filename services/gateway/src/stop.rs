//! How a gateway stops: it closes its sockets over the drain window, waits until their leaves are carried out, and deregisters.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollcall_bus::Bus;
use socketioxide::SocketIo;
use tokio::time::sleep;

use crate::{
    http::{connections::Open, gate::Gate},
    pending::Pending,
    socket::client::Gateway,
};

/// How long the leaves of the last sockets may take.
const LAST_LEAVES: Duration = Duration::from_secs(3);
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// What a gateway closes when it stops.
pub(crate) struct Stop {
    pub(crate) bus: Arc<Bus>,
    pub(crate) open: Arc<Open>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) io: SocketIo,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) pending: Arc<Pending>,
    /// The drain window.
    pub(crate) drain: Duration,
}

impl Stop {
    /// Stops the gateway. Takes at most the drain window and 3 s.
    pub(crate) async fn carry_out(self) {
        let begun = Instant::now();
        self.open.close_over(self.drain, || self.gateway.sessions() > 0).await;
        // Refuse all connections before any session is ended by Socket.IO: a client that receives a DISCONNECT does not
        // reconnect by itself, so no client may still have a connection on which it would receive one.
        self.gate.shut();
        self.open.close_all();
        let unfinished = || self.gateway.sessions() + self.pending.open();
        while unfinished() > 0 && begun.elapsed() < self.drain + LAST_LEAVES {
            // Long-polling sessions between two polls. (`SocketIo::close` would end them without calling their handlers.)
            for socket in self.io.sockets() {
                let _ = socket.disconnect();
            }
            sleep(CHECK_EVERY).await;
        }
        match unfinished() {
            0 => self.bus.deregister().await,
            // The lease expires, and the reaper evicts the rest as it does for a gateway that died.
            count => {
                tracing::warn!(count, "stopped before all leaves were carried out; the reaper will evict the rest")
            }
        }
    }
}
