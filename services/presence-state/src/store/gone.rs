//! Members of gateways that are gone: the lease expired, and the members are not evicted yet.

use std::{collections::BTreeMap, sync::Arc};

use rollcall_protocol::{RoomId, command::Member};

use super::{Store, member::Stored};

/// Epochs start at the time of Redis' clock. One that is this far ahead of it was chosen by the client.
const OWN_EPOCH_MS: u64 = 60_000;

/// A room that is being cleared of members of gone gateways. Until this is dropped, no one else starts to clear it.
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
    /// Starts to clear a room of members of gone gateways; `None` if that is under way.
    pub fn begin_clearing(self: &Arc<Self>, room: &RoomId) -> Option<Clearing> {
        let begun = self.clearing.lock().insert(room.clone());
        begun.then(|| Clearing { store: Arc::clone(self), room: room.clone() })
    }

    /// Runs work that goes on after its command was answered.
    pub(crate) fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, work);
    }

    /// Reads the leases again; `false` if that failed.
    pub async fn refresh_leases(&self) -> bool {
        self.bus.look_again().await
    }

    /// Whether a gateway's lease has expired and its members may be evicted.
    pub fn is_gone(&self, gateway: &rollcall_protocol::InstanceId) -> bool {
        self.bus.truce().is_none() && !self.bus.view().is_alive(gateway)
    }

    /// Removes members of gone gateways from what a newcomer is shown, and returns the codes of these gateways. The leases are
    /// read again first, so the users of a gateway that was paused and is back are shown again at once.
    pub(super) async fn without_gone(&self, mut stored: Vec<Stored>) -> (Vec<Member>, Vec<String>) {
        let mut gone = self.seem_gone(&stored);
        if !gone.is_empty() && !self.refresh_leases().await {
            gone.clear();
        }
        gone.retain(|code| self.is_gone(&rollcall_keyspace::gateway_of(code)));
        stored.retain(|one| !gone.contains(&one.gateway));
        (stored.into_iter().map(|one| one.member).collect(), gone)
    }

    /// The codes of gateways that have members here and are gone, by the leases that were last read.
    pub(super) fn seem_gone(&self, stored: &[Stored]) -> Vec<String> {
        let mut oldest: BTreeMap<&str, u64> = BTreeMap::new();
        for Stored { member, gateway } in stored {
            let epoch = oldest.entry(gateway).or_insert(member.epoch);
            *epoch = (*epoch).min(member.epoch);
        }
        // A gateway that has just started may have members before this instance has seen its lease.
        let seen_ms = self.bus.seen_ms();
        let is_known = |epoch: u64| epoch < seen_ms || epoch > seen_ms + OWN_EPOCH_MS;
        oldest
            .into_iter()
            .filter(|(code, epoch)| is_known(*epoch) && self.is_gone(&rollcall_keyspace::gateway_of(code)))
            .map(|(code, _)| code.to_owned())
            .collect()
    }
}
