//! Counts commands from their arrival until their answers are sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use rollcall_telemetry::metrics;

/// How many commands are open.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

/// An open command. It is answered, or given up, when the last copy of the `Arc` is dropped.
pub(crate) struct Open {
    count: Count,
    name: (&'static str, &'static str),
    arrived: Instant,
}

impl Count {
    /// A command has arrived; `name` is its subject and its verb.
    pub(crate) fn begin(&self, name: (&'static str, &'static str)) -> Arc<Open> {
        self.0.fetch_add(1, Ordering::AcqRel);
        Arc::new(Open { count: self.clone(), name, arrived: Instant::now() })
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (about, verb) = self.name;
        metrics::command(about, verb, self.arrived.elapsed());
        self.count.0.fetch_sub(1, Ordering::AcqRel);
    }
}
