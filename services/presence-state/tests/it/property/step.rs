//! What can happen next in a room.

use proptest::prelude::*;

/// Connections that take part; the even ones are on one gateway, the odd ones on another.
pub(super) const CONNS: usize = 4;
const USERS: usize = 2;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fence {
    Current,
    Lower,
    Higher,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A connection joins, or joins again, perhaps with an info.
    Join { conn: usize, user: usize, info: Option<u8> },
    /// A gateway puts a record back, there or not.
    Restore { conn: usize },
    /// Redis comes back with the data of so many steps ago, and both gateways say what they have.
    RollBack { steps: usize },
    /// A heartbeat, perhaps with a new state, perhaps from an old copy of it, perhaps too late.
    Beat { conn: usize, fence: Fence, patch: Option<u8>, old_copy: bool, late: bool },
    /// A connection leaves, perhaps too late.
    Leave { conn: usize, late: bool },
    /// The last of the above is sent once more.
    Repeat,
    /// A gateway is gone.
    LoseGateway { gateway: usize },
}

pub(super) fn any() -> impl Strategy<Value = Step> {
    let conn = || 0..CONNS;
    let fence = prop_oneof![4 => Just(Fence::Current), 1 => Just(Fence::Lower), 1 => Just(Fence::Higher)];
    let beat = (conn(), fence, proptest::option::of(0..4u8), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let info = proptest::option::of(0..2u8);
    prop_oneof![
        6 => (conn(), 0..USERS, info).prop_map(|(conn, user, info)| Step::Join { conn, user, info }),
        2 => conn().prop_map(|conn| Step::Restore { conn }),
        6 => beat.prop_map(|(conn, fence, patch, old_copy, late)| Step::Beat { conn, fence, patch, old_copy, late }),
        4 => (conn(), prop::bool::weighted(0.2)).prop_map(|(conn, late)| Step::Leave { conn, late }),
        3 => Just(Step::Repeat),
        1 => (0..2usize).prop_map(|gateway| Step::LoseGateway { gateway }),
        1 => (1..6usize).prop_map(|steps| Step::RollBack { steps }),
    ]
}
