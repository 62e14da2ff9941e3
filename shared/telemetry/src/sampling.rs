//! Which plain heartbeats are traced. Decided before a span is built, since building one costs more than the heartbeat.

use std::sync::atomic::{AtomicU32, Ordering};

static STEP: AtomicU32 = AtomicU32::new(0);
static PHASE: AtomicU32 = AtomicU32::new(0);

pub(crate) fn set_ratio(ratio: f64) {
    STEP.store((ratio.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
}

/// Whether this heartbeat is one of the traced share. Even rather than random: each call moves a phase by the ratio and
/// says yes when it wraps.
pub fn sample_heartbeat() -> bool {
    match STEP.load(Ordering::Relaxed) {
        0 => false,
        u32::MAX => true,
        step => PHASE.fetch_add(step, Ordering::Relaxed).checked_add(step).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact() {
        for (ratio, of_thousand) in [(0.0, 0), (0.1, 100), (1.0, 1000)] {
            set_ratio(ratio);
            let taken = (0..1000).filter(|_| sample_heartbeat()).count();
            assert!(taken.abs_diff(of_thousand) <= 1, "{ratio}: {taken}");
        }
    }
}
