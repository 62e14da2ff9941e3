//! How large the answers that list a room were. What is kept is bounded: a room that comes to the place of another replaces it.

use std::hash::{BuildHasher as _, RandomState};

use parking_lot::Mutex;
use rollcall_protocol::RoomId;

/// How many rooms there is space for, 16 bytes each.
const PLACES: usize = 65_536;

/// The sizes of the rooms that were listed last.
pub(super) struct Sizes {
    hasher: RandomState,
    places: Mutex<Vec<Place>>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// Stands for the room. It is keyed, so no one can choose rooms that share one.
    hash: u64,
    /// `None` if no room was here.
    bytes: Option<u32>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { hasher: RandomState::new(), places: Mutex::new(vec![Place::default(); PLACES]) }
    }
}

impl Sizes {
    /// The size of the last answer that listed the room; `None` if that is not known.
    pub(super) fn get(&self, room: &RoomId) -> Option<usize> {
        let hash = self.hasher.hash_one(room);
        let place = self.places.lock()[hash as usize % PLACES];
        place.bytes.filter(|_| place.hash == hash).map(|bytes| bytes as usize)
    }

    pub(super) fn insert(&self, room: &RoomId, bytes: usize) {
        let hash = self.hasher.hash_one(room);
        let bytes = Some(bytes.try_into().unwrap_or(u32::MAX));
        self.places.lock()[hash as usize % PLACES] = Place { hash, bytes };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_replaces_at_most_one_other() {
        let sizes = Sizes::default();
        let room = |n: usize| RoomId::from(format!("room {n}"));
        let known = |rooms: usize| (0..rooms).filter(|n| sizes.get(&room(*n)) == Some(*n)).count();
        for n in 0..1_000 {
            sizes.insert(&room(n), n);
        }
        assert!(known(1_000) > 900, "{}", known(1_000));
        let before = known(1_000);
        sizes.insert(&room(1_000), 1_000);
        assert!(known(1_000) >= before - 1);
        (0..8 * PLACES).for_each(|n| sizes.insert(&room(n), n));
        assert!(known(8 * PLACES) > PLACES / 2);
    }
}
