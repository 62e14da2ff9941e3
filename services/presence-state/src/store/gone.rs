//! Members of gateways that are gone: their lease ended, and no one has evicted them yet.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{RoomId, command::Member};

use super::{Store, member::Stored};

/// Epochs are born from Redis' clock; one that is so far ahead of it is its client's own.
const OWN_EPOCH_MS: u64 = 60_000;

/// A room that is being cleared of gateways that are gone. No one else begins until this is dropped.
pub struct Clearing {
    pub(crate) store: Arc<Store>,
    pub(crate) room: RoomId,
}

impl Drop for Clearing {
    fn drop(&mut self) {
        self.store.clearing.lock().remove(&self.room);
    }
}

impl Store {
    /// Takes a room on to be cleared of gateways that are gone; `None` if that is under way.
    pub fn begin_clearing(self: &Arc<Self>, room: &RoomId) -> Option<Clearing> {
        let begun = self.clearing.lock().insert(room.clone());
        begun.then(|| Clearing { store: Arc::clone(self), room: room.clone() })
    }

    /// Has work done after its command was answered.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, work);
    }

    /// Has the list of those who hold leases read after this call; `false` if that did not work.
    pub async fn looks_again(&self) -> bool {
        self.bus.look_again().await
    }

    /// Whether a gateway has lost its lease and may be evicted.
    pub fn is_gone(&self, gateway: &protocol::InstanceId) -> bool {
        self.bus.truce().is_none() && !self.bus.view().is_alive(gateway)
    }

    /// Leaves members of gateways that are gone out of those that a newcomer is shown; the codes of those gateways. The list of
    /// leases is read again first: a gateway that was paused and is back has its users back at once.
    pub(super) async fn without_gone(&self, mut stored: Vec<Stored>) -> (Vec<Member>, Vec<String>) {
        let mut gone = self.seem_gone(&stored);
        if !gone.is_empty() && !self.looks_again().await {
            gone.clear();
        }
        gone.retain(|code| self.is_gone(&keyspace::gateway_of(code)));
        stored.retain(|one| !gone.contains(&one.gateway));
        (stored.into_iter().map(|one| one.member).collect(), gone)
    }

    /// The codes of gateways that have members here and are gone, as far as this instance knows by now.
    pub(super) fn seem_gone(&self, stored: &[Stored]) -> Vec<String> {
        let mut oldest: BTreeMap<&str, u64> = BTreeMap::new();
        for Stored { member, gateway } in stored {
            let epoch = oldest.entry(gateway).or_insert(member.epoch);
            *epoch = (*epoch).min(member.epoch);
        }
        // A gateway that has just begun may have members before this instance has seen its lease.
        let seen_ms = self.bus.seen_ms();
        let is_known = |epoch: u64| epoch < seen_ms || epoch > seen_ms + OWN_EPOCH_MS;
        oldest
            .into_iter()
            .filter(|(code, epoch)| is_known(*epoch) && self.is_gone(&keyspace::gateway_of(code)))
            .map(|(code, _)| code.to_owned())
            .collect()
    }
}
