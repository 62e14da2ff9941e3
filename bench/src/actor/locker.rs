//! A member of a room that acquires a lock and releases it again, over and over. It knows how long it waited, and how long after
//! the release by the one before it in line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{Role, pass_over};
use crate::client::scan::Needle;

static OK: Needle = Needle::new(r#""ok":true"#);
static FENCE: Needle = Needle::new(r#""fence":"#);

/// When a lock was last released, in microseconds after `start`. All who want the lock share it.
#[derive(Debug)]
pub(crate) struct LastRelease {
    start: Instant,
    us: AtomicU64,
}

/// Acquires and releases in turn.
#[derive(Debug)]
pub(crate) struct Locker {
    acquire: String,
    /// A release up to its fence, and the last one as a whole.
    release: String,
    payload: String,
    last_release: Arc<LastRelease>,
    /// The fence of the lock while it is held.
    fence: Option<u64>,
    /// The fence before, which each new one is above.
    last_fence: u64,
    asked_us: u64,
    longest_wait_us: u64,
    handovers_us: Vec<u32>,
}

impl LastRelease {
    /// Of a lock that was never released.
    pub(crate) fn never() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), us: AtomicU64::new(0) })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Locker {
    /// Wants the lock `lock` of the channel of `room` and waits for it at most `wait_ms`.
    pub(crate) fn new(room: &str, lock: &str, wait_ms: u64, last_release: Arc<LastRelease>) -> Self {
        let name = format!(r#"{{"channelName":"{room}","channelType":"bench","lockName":"{lock}""#);
        Self {
            acquire: format!(r#"{name},"waitMs":{wait_ms}}}"#),
            release: name,
            payload: String::new(),
            last_release,
            fence: None,
            last_fence: 0,
            asked_us: 0,
            longest_wait_us: 0,
            handovers_us: Vec::new(),
        }
    }

    /// The longest time from a question to the lock.
    pub(crate) fn longest_wait_us(&self) -> u64 {
        self.longest_wait_us
    }

    /// The times from another's release to the lock, where this one was in line already.
    pub(crate) fn handovers_us(&self) -> &[u32] {
        &self.handovers_us
    }

    fn acquired(&mut self, fence: u64) {
        let (now, released) = (self.last_release.now_us(), self.last_release.us.load(Ordering::Relaxed));
        self.longest_wait_us = self.longest_wait_us.max(now - self.asked_us);
        if released > self.asked_us {
            self.handovers_us.push(u32::try_from(now - released).unwrap_or(u32::MAX));
        }
        (self.fence, self.last_fence) = (Some(fence), fence);
    }
}

impl Role for Locker {
    fn request(&mut self) -> (&'static str, &str) {
        let now = self.last_release.now_us();
        let Some(fence) = self.fence else {
            self.asked_us = now;
            return ("lock:acquire", &self.acquire);
        };
        self.payload = format!(r#"{},"fence":{fence}}}"#, self.release);
        self.last_release.us.store(now, Ordering::Relaxed);
        ("lock:release", &self.payload)
    }

    fn answer(&mut self, body: &[u8]) -> Result<(), String> {
        let right = OK.is_in(body);
        if self.fence.take().is_some() {
            return if right { Ok(()) } else { Err(format!("a release answered {}", String::from_utf8_lossy(body))) };
        }
        match FENCE.number_after(body).filter(|fence| right && *fence > self.last_fence) {
            Some(fence) => {
                self.acquired(fence);
                Ok(())
            }
            None => {
                Err(format!("an acquire after fence {} answered {}", self.last_fence, String::from_utf8_lossy(body)))
            }
        }
    }

    fn event(&mut self, name: &[u8], _body: &[u8]) -> Result<(), String> {
        pass_over(name)
    }

    fn conclusion(&self) -> Result<(), String> {
        Ok(())
    }

    /// Who stopped with the lock would keep the others waiting until its time is over.
    fn may_stop(&self) -> bool {
        self.fence.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locker(last_release: &Arc<LastRelease>) -> Locker {
        Locker::new("lobby", "turn", 5, last_release.clone())
    }

    #[test]
    fn releases_under_the_fence_that_it_got_and_stops_only_then() {
        let mut locker = locker(&LastRelease::never());
        let acquire = r#"{"channelName":"lobby","channelType":"bench","lockName":"turn","waitMs":5}"#;
        assert_eq!(locker.request(), ("lock:acquire", acquire));
        assert_eq!(locker.answer(br#"{"ok":true,"lockName":"turn","fence":7,"expiresAt":1}"#), Ok(()));
        assert!(!locker.may_stop());
        let release = r#"{"channelName":"lobby","channelType":"bench","lockName":"turn","fence":7}"#;
        assert_eq!(locker.request(), ("lock:release", release));
        assert_eq!(locker.answer(br#"{"ok":true}"#), Ok(()));
        assert!(locker.may_stop());
        locker.request();
        assert!(locker.answer(br#"{"ok":true,"lockName":"turn","fence":7,"expiresAt":1}"#).is_err(), "an old fence");
    }

    #[test]
    fn a_handover_needs_one_in_line() {
        let shared = LastRelease::never();
        let (mut first, mut second) = (locker(&shared), locker(&shared));
        let held = |fence| format!(r#"{{"ok":true,"fence":{fence}}}"#);
        first.request();
        first.answer(held(1).as_bytes()).unwrap();
        second.request();
        std::thread::sleep(std::time::Duration::from_millis(1));
        first.request();
        second.answer(held(2).as_bytes()).unwrap();
        assert_eq!((first.handovers_us().len(), second.handovers_us().len()), (0, 1));
        assert!(second.longest_wait_us() >= 1000);
    }
}
