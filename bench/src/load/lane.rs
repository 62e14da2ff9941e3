//! Servers, the clients that put load on them, and what was measured so far. Two lanes are measured in turn, a short window each,
//! so that a slow moment of the machine meets both.

use std::io;

use super::measure::Measure;
use super::{Window, closed_loop, paced};
use crate::actor::{Actor, Role};
use crate::faults::Faults;
use crate::servers::Servers;

/// One side of a comparison.
pub(crate) struct Lane<R> {
    /// What is measured.
    pub(crate) servers: Servers,
    /// Who puts load on it.
    pub(crate) actors: Vec<Actor<R>>,
    /// All windows so far.
    pub(crate) measure: Measure,
}

impl<R: Role> Lane<R> {
    /// A lane that has measured nothing yet.
    pub(crate) fn new(servers: Servers, actors: Vec<Actor<R>>) -> Self {
        Self { servers, actors, measure: Measure::default() }
    }

    /// Measures one more window of a closed loop.
    pub(crate) async fn closed_loop(&mut self, window: Window) -> io::Result<()> {
        let measure = closed_loop::run(&mut self.servers, &mut self.actors, window).await?;
        self.measure.add(measure);
        Ok(())
    }

    /// Measures one more window of one request a second from each.
    pub(crate) async fn paced(&mut self, window: Window) -> io::Result<()> {
        let measure = paced::run(&mut self.servers, &mut self.actors, window).await?;
        self.measure.add(measure);
        Ok(())
    }

    /// All faults of the clients, and what was still wrong at the end.
    pub(crate) fn faults(&mut self) -> Faults {
        let mut all = Faults::default();
        for actor in &mut self.actors {
            all.absorb(std::mem::take(&mut actor.faults));
            all.check(actor.role.conclusion());
        }
        all
    }
}
