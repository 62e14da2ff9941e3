//! What this instance knows of the list of instances, and which of them it found gone itself. No I/O and no clock.

use std::collections::{BTreeSet, HashMap};

use protocol::InstanceId;

use super::view::View;

/// The list as it was read, and kept up to date by the changes since.
#[derive(Debug, Default)]
pub(super) struct Roster {
    listed: BTreeSet<InstanceId>,
    /// Which state of the list this is; `None` before it was read.
    at: Option<Place>,
    /// Instances that this one found gone, with the lease that they had when Redis was first asked after that. One whose lease
    /// is another later has renewed it, and is back.
    gone: HashMap<InstanceId, Option<u64>>,
}

/// A state of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the server that holds it.
    pub(super) replication_id: String,
    /// The number of the last change.
    pub(super) change: u64,
}

impl Roster {
    /// The last change that is known, 0 for none.
    pub(super) fn known(&self) -> u64 {
        self.at.as_ref().map_or(0, |at| at.change)
    }

    /// Takes the whole list.
    pub(super) fn replace(&mut self, at: Place, listed: impl IntoIterator<Item = InstanceId>) {
        self.at = Some(at);
        self.listed = listed.into_iter().collect();
    }

    /// Takes what changed up to `at`; `false` if the whole list has to be read, because it is another server's, or because that
    /// server does not know all changes any more (`news` is none).
    pub(super) fn follow(&mut self, at: Place, news: Option<Vec<(InstanceId, bool)>>) -> bool {
        let same = self.at.as_ref().is_some_and(|known| known.replication_id == at.replication_id);
        let Some(news) = news.filter(|_| same) else { return false };
        for (instance, added) in news {
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

    /// Takes the leases of instances that were found gone, 0 for none. One without a lease has left the list.
    pub(super) fn watch(&mut self, leases: impl Iterator<Item = (InstanceId, u64)>) {
        for (instance, lease) in leases {
            match self.gone.get_mut(&instance) {
                Some(_) if lease == 0 => drop(self.gone.remove(&instance)),
                Some(first @ None) => *first = Some(lease),
                Some(Some(first)) if *first != lease => drop(self.gone.remove(&instance)),
                _ => {}
            }
        }
    }

    /// Who is alive.
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

    fn place(id: &str, change: u64) -> Place {
        Place { replication_id: id.to_owned(), change }
    }

    fn states(roster: &Roster) -> Vec<String> {
        roster.view().peers(Role::State).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_list_follows_changes_of_the_server_it_was_read_from() {
        let mut roster = Roster::default();
        assert!(!roster.follow(place("x", 7), Some(vec![])), "never read");
        roster.replace(place("x", 7), [A.into()]);
        assert!(roster.follow(place("x", 9), Some(vec![(B.into(), true), (A.into(), false)])));
        assert_eq!((states(&roster), roster.known()), (vec![B.to_owned()], 9));
        assert!(!roster.follow(place("x", 900), None), "too far behind");
        assert!(!roster.follow(place("y", 9), Some(vec![])), "another server");
        assert_eq!((states(&roster), roster.known()), (vec![B.to_owned()], 9));
    }

    #[test]
    fn the_gone_stay_out_until_they_renew() {
        let mut roster = Roster::default();
        roster.replace(place("x", 1), [A.into(), B.into()]);
        roster.mark_gone(&A.into());
        assert_eq!(states(&roster), [B]);
        roster.watch([(A.into(), 200)].into_iter());
        roster.watch([(A.into(), 200)].into_iter());
        roster.replace(place("x", 1), [A.into(), B.into()]);
        assert_eq!(states(&roster), [B], "its lease still stands, and is not renewed");
        roster.watch([(A.into(), 260)].into_iter());
        assert_eq!(states(&roster), [A, B]);
        roster.mark_gone(&A.into());
        roster.watch([(A.into(), 0)].into_iter());
        assert!(roster.gone().is_empty(), "the list says the rest");
    }
}
