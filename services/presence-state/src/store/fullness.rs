//! How full Redis is known to be. A rejected write raises the level, the measured memory lowers it, and each change is logged once.

use parking_lot::Mutex;

/// Below these shares of `maxmemory` a level ends. A little lower than where it begins (all, and 80 %), so that a Redis that stays at
/// its limit does not change its level with every write.
const FULL_ENDS: f64 = 0.95;
const NEARLY_FULL_ENDS: f64 = 0.75;

/// What Redis has memory for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// For everything.
    #[default]
    Enough,
    /// For presence and locks, not for more metadata.
    NearlyFull,
    /// For nothing new.
    Full,
}

/// The current level.
#[derive(Debug, Default)]
pub(super) struct Fullness(Mutex<Level>);

impl Fullness {
    /// A write was rejected. `error`: what Redis said.
    pub(super) fn rejected(&self, level: Level, error: &str) {
        let mut now = self.0.lock();
        if *now < level {
            *now = level;
            drop(now);
            log(level, error);
        }
    }

    /// The used share of `maxmemory` was read; `None` without a limit.
    pub(super) fn measured(&self, ratio: Option<f64>) {
        let mut now = self.0.lock();
        let level = match (*now, ratio.unwrap_or(0.0)) {
            (Level::Full, ratio) if ratio >= FULL_ENDS => Level::Full,
            (Level::Full | Level::NearlyFull, ratio) if ratio >= NEARLY_FULL_ENDS => Level::NearlyFull,
            _ => Level::Enough,
        };
        if *now != level {
            *now = level;
            drop(now);
            log(level, "");
        }
    }

    #[cfg(test)]
    fn level(&self) -> Level {
        *self.0.lock()
    }
}

fn log(level: Level, error: &str) {
    match level {
        Level::Enough => tracing::info!("Redis has memory again"),
        Level::NearlyFull => {
            tracing::warn!("Redis is over 80 % full; metadata that needs memory is rejected, presence goes on");
        }
        Level::Full => tracing::warn!(
            error,
            "Redis is full: maxmemory is reached. What needs memory is rejected with OVERLOADED; reads, leaves and evictions go on"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_raise_the_level_and_memory_lowers_it() {
        let fullness = Fullness::default();
        let after = |ratio| {
            fullness.measured(ratio);
            fullness.level()
        };
        assert_eq!(after(Some(1.2)), Level::Enough, "nothing was rejected yet");
        fullness.rejected(Level::NearlyFull, "");
        assert_eq!(after(Some(0.9)), Level::NearlyFull);
        fullness.rejected(Level::Full, "OOM");
        fullness.rejected(Level::NearlyFull, "");
        assert_eq!([after(Some(1.0)), after(Some(0.96))], [Level::Full; 2]);
        assert_eq!([after(Some(0.9)), after(Some(0.79))], [Level::NearlyFull; 2]);
        assert_eq!(after(Some(0.7)), Level::Enough);
        fullness.rejected(Level::Full, "OOM");
        assert_eq!(after(None), Level::Enough, "the limit was removed");
    }
}
