//! Where a cluster of the tests has what.

use fred::types::cluster::ClusterRouting;
pub(crate) use rollcall_testkit::Cluster;

/// Which of the three has what begins like this: they share the slots evenly, in order.
pub(crate) fn server_of(key: &str) -> usize {
    usize::from(ClusterRouting::hash_key(key.as_bytes())) * 3 / 16_384
}

/// The hash slot of a key.
pub(crate) fn slot(key: &str) -> u16 {
    ClusterRouting::hash_key(key.as_bytes())
}
