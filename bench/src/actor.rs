//! A client and its role: the loop that every load shares. Roles know the protocol; the actor drives them.

pub(crate) mod bare;
pub(crate) mod locker;
pub(crate) mod member;
pub(crate) mod sequence;
pub(crate) mod updater;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::Client;
use crate::client::packet::Packet;
use crate::faults::Faults;

/// What a client sends and what it expects.
pub(crate) trait Role: Send + 'static {
    /// The next request: the event's name and its payload.
    fn request(&mut self) -> (&'static str, &str);
    /// Looks at the answer to the last request.
    fn answer(&mut self, body: &[u8]) -> Result<(), String>;
    /// Looks at an event.
    fn event(&mut self, name: &[u8], body: &[u8]) -> Result<(), String>;
    /// Faults that are left at the end.
    fn conclusion(&self) -> Result<(), String>;
    /// Whether a load may end here: not while others wait for the next step of this client.
    fn may_stop(&self) -> bool {
        true
    }
}

/// Passes over an event of the room: for roles that are measured by their answers only, so that the load side stays cheap.
fn pass_over(name: &[u8]) -> Result<(), String> {
    match name {
        b"presence:event" | b"presence:sync" | b"metadata:event" | b"lock:event" => Ok(()),
        other => Err(format!("an unexpected event {}", String::from_utf8_lossy(other))),
    }
}

/// A connected client with its role.
pub(crate) struct Actor<R> {
    /// The connection.
    pub(crate) client: Client,
    /// What it does.
    pub(crate) role: R,
    /// What went wrong so far.
    pub(crate) faults: Faults,
}

/// What all actors of a load have done together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    answers: AtomicU64,
    events: AtomicU64,
}

impl Tally {
    /// Answers and events so far.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.answers.load(Ordering::Relaxed), self.events.load(Ordering::Relaxed))
    }
}

impl<R: Role> Actor<R> {
    /// An actor that has done nothing yet.
    pub(crate) fn new(client: Client, role: R) -> Self {
        Self { client, role, faults: Faults::default() }
    }

    /// Sends the next request and waits for its answer; looks at the events that come before it.
    pub(crate) async fn beat(&mut self, tally: &Tally) -> io::Result<()> {
        let (event, payload) = self.role.request();
        let sent = self.client.send(event, payload).await?;
        while self.absorb(tally).await? != Some(sent) {}
        Ok(())
    }

    /// Receives one packet; returns the id of the request that it answers.
    pub(crate) async fn absorb(&mut self, tally: &Tally) -> io::Result<Option<u64>> {
        match self.client.receive().await? {
            Packet::Answer { id, body } => {
                tally.answers.fetch_add(1, Ordering::Relaxed);
                self.faults.check(self.role.answer(body));
                Ok(Some(id))
            }
            Packet::Event { name, body } => {
                tally.events.fetch_add(1, Ordering::Relaxed);
                self.faults.check(self.role.event(name, body));
                Ok(None)
            }
            other => {
                self.faults.note(format!("an unexpected packet {other:?}"));
                Ok(None)
            }
        }
    }
}
