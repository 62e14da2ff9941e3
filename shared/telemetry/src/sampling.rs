//! Which plain heartbeats are traced. Decided before a span is built, so that the others pay nothing.

use std::sync::atomic::{AtomicU32, Ordering};

static HEARTBEATS: Share = Share::none();

pub(crate) fn set_ratio(ratio: f64) {
    HEARTBEATS.set(ratio);
}

/// Whether this heartbeat is one of the traced share.
pub fn sample_heartbeat() -> bool {
    HEARTBEATS.take()
}

/// A share of what comes. Even rather than random: each one moves a phase by the ratio and is taken when it wraps.
struct Share {
    step: AtomicU32,
    phase: AtomicU32,
}

impl Share {
    const fn none() -> Self {
        Self { step: AtomicU32::new(0), phase: AtomicU32::new(0) }
    }

    fn set(&self, ratio: f64) {
        self.step.store((ratio.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        match self.step.load(Ordering::Relaxed) {
            0 => false,
            u32::MAX => true,
            step => self.phase.fetch_add(step, Ordering::Relaxed).checked_add(step).is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact() {
        for (ratio, of_thousand) in [(0.0, 0), (0.1, 100), (1.0, 1000)] {
            let share = Share::none();
            share.set(ratio);
            let taken = (0..1000).filter(|_| share.take()).count();
            assert!(taken.abs_diff(of_thousand) <= 1, "{ratio}: {taken}");
        }
    }
}
