//! Which plain heartbeats are traced. This is decided before a span is built, so the others cost nothing.

use std::sync::atomic::{AtomicU32, Ordering};

static HEARTBEATS: Share = Share::none();

pub(crate) fn set_ratio(ratio: f64) {
    HEARTBEATS.set(ratio);
}

/// Whether to trace this heartbeat.
pub fn sample_heartbeat() -> bool {
    HEARTBEATS.take()
}

/// Takes a share of the calls, evenly rather than at random: each call adds the ratio to a phase and is taken when it wraps.
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
