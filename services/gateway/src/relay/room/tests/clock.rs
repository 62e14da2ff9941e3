//! Redis' clock, simulated: it may be set, and never says the same microsecond twice.

/// See the module.
pub(super) struct Clock {
    now_ms: u64,
    /// The latest that it ever was.
    latest_ms: u64,
    reads: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { now_ms: 1_000_000, latest_ms: 1_000_000, reads: 0 }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The time in microseconds. A millisecond passes.
    pub(super) fn read_us(&mut self) -> u64 {
        self.pass(1);
        self.reads += 1;
        self.now_ms * 1_000 + self.reads % 1_000
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.latest_ms = self.latest_ms.max(self.now_ms);
    }

    pub(super) fn step(&mut self, by_ms: i64) {
        self.now_ms = self.now_ms.saturating_add_signed(by_ms);
        self.pass(0);
    }

    /// It is as late as it ever was.
    pub(super) fn catch_up(&mut self) {
        self.now_ms = self.latest_ms;
    }
}
