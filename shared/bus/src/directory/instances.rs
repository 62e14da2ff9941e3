//! The list of instances as this instance knows it, and which of them it found gone itself. No I/O and no clock.

use std::collections::{BTreeSet, HashMap};

use rollcall_protocol::InstanceId;

use super::view::View;

/// The list as it was read, with the changes since applied.
#[derive(Debug, Default)]
pub(super) struct Instances {
    listed: BTreeSet<InstanceId>,
    /// The version of the list; `None` before it was read.
    at: Option<ListVersion>,
    /// Instances that this one found gone, with the lease that Redis first returned after that. An instance whose lease differs
    /// later has renewed it and is back.
    gone: HashMap<InstanceId, Option<u64>>,
}

/// A version of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListVersion {
    /// The replication id of the server that holds the list.
    pub(super) replication_id: String,
    /// The number of the last change.
    pub(super) change: u64,
}

impl Instances {
    /// The number of the last known change, 0 for none.
    pub(super) fn last_change(&self) -> u64 {
        self.at.as_ref().map_or(0, |at| at.change)
    }

    /// Replaces the whole list.
    pub(super) fn replace(&mut self, at: ListVersion, listed: impl IntoIterator<Item = InstanceId>) {
        self.at = Some(at);
        self.listed = listed.into_iter().collect();
    }

    /// Applies the changes up to `at`. `false` if the whole list has to be read: the server is another one, or it no longer has all
    /// changes (`changes` is `None`).
    pub(super) fn apply(&mut self, at: ListVersion, changes: Option<Vec<(InstanceId, bool)>>) -> bool {
        let same = self.at.as_ref().is_some_and(|known| known.replication_id == at.replication_id);
        let Some(changes) = changes.filter(|_| same) else { return false };
        for (instance, added) in changes {
            if added {
                self.listed.insert(instance);
            } else {
                self.listed.remove(&instance);
            }
        }
        self.at = Some(at);
        true
    }

    /// Drops an instance until it renews its lease.
    pub(super) fn mark_gone(&mut self, instance: &InstanceId) {
        self.gone.insert(instance.clone(), None);
    }

    /// The instances whose leases decide whether they are back.
    pub(super) fn gone(&self) -> Vec<InstanceId> {
        self.gone.keys().cloned().collect()
    }

    /// Compares the leases of instances that were found gone, 0 for none. An instance without a lease has left the list.
    pub(super) fn check_gone(&mut self, leases: impl Iterator<Item = (InstanceId, u64)>) {
        for (instance, lease) in leases {
            match self.gone.get_mut(&instance) {
                Some(_) if lease == 0 => drop(self.gone.remove(&instance)),
                Some(first @ None) => *first = Some(lease),
                Some(Some(first)) if *first != lease => drop(self.gone.remove(&instance)),
                _ => {}
            }
        }
    }

    /// The live instances.
    pub(super) fn view(&self) -> View {
        View::of(self.listed.iter().filter(|instance| !self.gone.contains_key(*instance)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Role;

    const A: &str = "presence-state-a";
    const B: &str = "presence-state-b";

    fn version(id: &str, change: u64) -> ListVersion {
        ListVersion { replication_id: id.to_owned(), change }
    }

    fn states(instances: &Instances) -> Vec<String> {
        instances.view().peers(Role::State).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_list_follows_changes_of_the_server_it_was_read_from() {
        let mut instances = Instances::default();
        assert!(!instances.apply(version("x", 7), Some(vec![])), "never read");
        instances.replace(version("x", 7), [A.into()]);
        assert!(instances.apply(version("x", 9), Some(vec![(B.into(), true), (A.into(), false)])));
        assert_eq!((states(&instances), instances.last_change()), (vec![B.to_owned()], 9));
        assert!(!instances.apply(version("x", 900), None), "too far behind");
        assert!(!instances.apply(version("y", 9), Some(vec![])), "another server");
        assert_eq!((states(&instances), instances.last_change()), (vec![B.to_owned()], 9));
    }

    #[test]
    fn instances_found_gone_stay_out_until_they_renew() {
        let mut instances = Instances::default();
        instances.replace(version("x", 1), [A.into(), B.into()]);
        instances.mark_gone(&A.into());
        assert_eq!(states(&instances), [B]);
        instances.check_gone([(A.into(), 200)].into_iter());
        instances.check_gone([(A.into(), 200)].into_iter());
        instances.replace(version("x", 1), [A.into(), B.into()]);
        assert_eq!(states(&instances), [B], "its lease still stands, and is not renewed");
        instances.check_gone([(A.into(), 260)].into_iter());
        assert_eq!(states(&instances), [A, B]);
        instances.mark_gone(&A.into());
        instances.check_gone([(A.into(), 0)].into_iter());
        assert!(instances.gone().is_empty(), "the list says the rest");
    }
}
