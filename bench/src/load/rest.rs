//! Idle connections: they only answer pings, and a lost one is a fault.

use std::io;

use tokio::task::JoinSet;

use crate::client::Client;

/// A number of connections at rest. They end when this is dropped.
#[derive(Default)]
pub(crate) struct Resting {
    clients: JoinSet<()>,
}

impl Resting {
    /// Adds connections.
    pub(crate) fn add(&mut self, clients: impl IntoIterator<Item = Client>) {
        for client in clients {
            self.clients.spawn(client.idle());
        }
    }

    /// An error if a connection was lost.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.clients.try_join_next() {
            Some(_) => Err(io::Error::other("a connection at rest was lost")),
            None => Ok(()),
        }
    }
}
