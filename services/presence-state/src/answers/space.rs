//! Space for answers that are not sent yet. Each call takes what its answer is expected to need before it asks Redis, and
//! corrects it when the answer is there.

use std::sync::Arc;

use rollcall_protocol::{
    command::Command,
    limits::{MAX_CHANNEL_BYTES, MAX_ROOM_BYTES},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sizes::Sizes;

/// What may wait, in bytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The unit in which it is counted.
const UNIT_BYTES: usize = 1024;
/// What the answer to most commands needs at most.
const USUAL_BYTES: usize = 16 * 1024;
/// The script of channels begins no other channel after 1 MiB; a page of a channel sync ends there too.
const CHANNELS_BYTES: usize = 1024 * 1024 + MAX_CHANNEL_BYTES;
/// For a room whose size is not known: at most eight of them are read at a time, whatever they turn out to have.
const UNKNOWN_BYTES: usize = 2 * 1024 * 1024;

/// The space of a process.
pub(crate) struct Spaces {
    free: Arc<Semaphore>,
    rooms: Sizes,
}

/// Space that one call takes. Dropping it makes it free.
pub(crate) struct Space {
    taken: Option<OwnedSemaphorePermit>,
    /// Units that the answer needs in addition and that were free when it arrived.
    more: usize,
    free: Arc<Semaphore>,
}

impl Default for Spaces {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(MOST_BYTES / UNIT_BYTES)), rooms: Sizes::default() }
    }
}

impl Spaces {
    /// Waits for space for the answer to a call that begins with `command`. First come, first served.
    pub(crate) async fn take(&self, command: &Command) -> Space {
        let units = self.expected(command).div_ceil(UNIT_BYTES) as u32;
        // Never closed.
        let taken = Arc::clone(&self.free).acquire_many_owned(units).await.ok();
        Space { taken, more: 0, free: Arc::clone(&self.free) }
    }

    /// Space for a small answer that no call is needed for.
    pub(crate) fn none(&self) -> Space {
        Space { taken: None, more: 0, free: Arc::clone(&self.free) }
    }

    fn expected(&self, command: &Command) -> usize {
        match command {
            Command::Metadata(_) | Command::Catchup(_) => CHANNELS_BYTES,
            Command::Join(_) | Command::Snapshot(_) => {
                let known = command.room().and_then(|room| self.rooms.get(room));
                known.map_or(UNKNOWN_BYTES, |bytes| bytes.clamp(USUAL_BYTES, MAX_ROOM_BYTES))
            }
            _ => USUAL_BYTES,
        }
    }

    /// Records how large the answer was that listed the room of `command`.
    pub(crate) fn remember(&self, command: &Command, bytes: usize) {
        if let Some(room) = command.room() {
            self.rooms.insert(room, bytes);
        }
    }
}

impl Space {
    /// The answer has this many bytes. Never waits: the answer is already there.
    pub(crate) fn fit(&mut self, bytes: usize) {
        let units = bytes.div_ceil(UNIT_BYTES);
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        match &mut self.taken {
            Some(permit) if units < taken => drop(permit.split(taken - units)),
            _ => self.more += self.free.forget_permits(units - taken.min(units)),
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.free.add_permits(self.more);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use rollcall_protocol::{
        ChannelId,
        command::{
            SnapshotQuery,
            metadata::{Act, Metadata},
        },
    };

    use super::*;

    fn read() -> Command {
        Command::Metadata(Metadata { channel: ChannelId { name: "c".into(), kind: "T".into() }, act: Act::Get })
    }

    fn snapshot_of(room: &str) -> Command {
        Command::Snapshot(SnapshotQuery { room: room.into(), known: None })
    }

    fn snapshot() -> Command {
        snapshot_of("lobby")
    }

    #[tokio::test]
    async fn no_call_begins_without_space_for_its_answer() {
        let spaces = Spaces::default();
        let mut taken = Vec::new();
        while let Some(space) = spaces.take(&read()).now_or_never() {
            taken.push(space);
        }
        assert_eq!(taken.len(), MOST_BYTES / CHANNELS_BYTES);
        taken.iter_mut().for_each(|space| space.fit(UNIT_BYTES));
        assert!(spaces.take(&read()).now_or_never().is_some(), "the answers were small");
        drop(taken);
        assert_eq!(spaces.free.available_permits(), MOST_BYTES / UNIT_BYTES);
    }

    #[tokio::test]
    async fn a_large_answer_takes_what_is_free_and_gives_it_back() {
        let spaces = Spaces::default();
        let mut large = spaces.take(&snapshot()).await;
        large.fit(2 * MOST_BYTES);
        assert_eq!(spaces.free.available_permits(), 0);
        drop(large);
        assert_eq!(spaces.free.available_permits(), MOST_BYTES / UNIT_BYTES);
        let mut unexpected = spaces.none();
        unexpected.fit(UNIT_BYTES);
        assert_eq!(spaces.free.available_permits(), MOST_BYTES / UNIT_BYTES - 1);
    }

    fn snapshots(spaces: &Spaces, room: impl Fn(usize) -> String) -> usize {
        let take = |n| spaces.take(&snapshot_of(&room(n))).now_or_never();
        let all: Vec<_> = (0..).map_while(take).collect();
        all.len()
    }

    #[tokio::test]
    async fn a_room_that_was_large_is_expected_to_be_large_again() {
        let spaces = Spaces::default();
        let of_one_room = || snapshots(&spaces, |_| "lobby".to_owned());
        spaces.remember(&snapshot(), MOST_BYTES);
        assert_eq!(of_one_room(), MOST_BYTES / MAX_ROOM_BYTES);
        spaces.remember(&snapshot(), 100);
        assert_eq!(spaces.expected(&snapshot()), USUAL_BYTES);
    }

    #[tokio::test]
    async fn few_rooms_are_read_at_a_time_whose_size_is_not_known() {
        let spaces = Spaces::default();
        assert_eq!(snapshots(&spaces, |n| format!("room {n}")), 8);
    }
}
