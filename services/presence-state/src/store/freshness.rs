//! Which rooms had their expiry and their place in the indexes refreshed lately by this instance. Only a saving: what it
//! forgets is refreshed once more.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::{InstanceId, RoomId};

/// Rooms remembered at most; beyond it the oldest are forgotten.
const REMEMBERED: usize = 100_000;

pub(super) struct Freshness {
    refreshed: Mutex<HashMap<(RoomId, InstanceId), Instant>>,
    lasts: Duration,
}

impl Freshness {
    pub(super) fn new(ttl_ms: u64) -> Self {
        Self { refreshed: Mutex::default(), lasts: Duration::from_millis(ttl_ms / 2) }
    }

    /// Whether the room wants a refresh for this gateway now; counts as refreshed from then on.
    pub(super) fn wanted(&self, room: &RoomId, node: &InstanceId) -> bool {
        let now = Instant::now();
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (room.clone(), node.clone());
        if refreshed.get(&key).is_some_and(|at| now.duration_since(*at) < self.lasts) {
            return false;
        }
        if refreshed.len() >= REMEMBERED {
            refreshed.retain(|_, at| now.duration_since(*at) < self.lasts);
            if refreshed.len() >= REMEMBERED {
                refreshed.clear();
            }
        }
        refreshed.insert(key, now);
        true
    }

    /// Has the room refreshed again at the next occasion.
    pub(super) fn forget(&self, room: &RoomId, node: &InstanceId) {
        self.refreshed.lock().unwrap_or_else(PoisonError::into_inner).remove(&(room.clone(), node.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_until_it_lasts_no_longer_or_was_forgotten() {
        let freshness = Freshness::new(60_000);
        let (room, node) = ("r".into(), "n".into());
        assert!(freshness.wanted(&room, &node));
        assert!(!freshness.wanted(&room, &node));
        assert!(freshness.wanted(&room, &"other".into()));
        freshness.forget(&room, &node);
        assert!(freshness.wanted(&room, &node));
        let none = Freshness::new(0);
        assert!(none.wanted(&room, &node) && none.wanted(&room, &node));
    }
}
