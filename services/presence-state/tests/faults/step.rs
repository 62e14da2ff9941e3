//! What can happen next.

use proptest::prelude::*;

/// Connections that take part; the even ones are on one gateway, the odd one on another. The first two are of one user.
pub(crate) const CONNS: usize = 3;
/// Types of the room's name that have metadata.
pub(crate) const KINDS: [&str; 2] = ["T", "U"];
/// Locks of the first of them.
pub(crate) const LOCKS: [&str; 2] = ["l", "m"];

/// What a connection does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Join {
        conn: usize,
    },
    Update {
        conn: usize,
    },
    Leave {
        conn: usize,
    },
    /// A channel gets one item in the place of all.
    Set {
        conn: usize,
        kind: usize,
        key: u8,
    },
    /// One item changes, if it is there.
    Change {
        conn: usize,
        kind: usize,
        key: u8,
    },
    Remove {
        conn: usize,
        kind: usize,
        key: u8,
    },
    /// The channel that has the locks is replaced by anyone who holds one of them as far as it knows.
    Guarded {
        conn: usize,
        lock: usize,
    },
    Acquire {
        conn: usize,
        lock: usize,
        waits: bool,
    },
    Release {
        conn: usize,
        lock: usize,
    },
}

impl Act {
    /// Whether a Redis whose memory is full refuses it. What frees memory goes on.
    pub(crate) fn takes_memory(&self) -> bool {
        !matches!(self, Act::Leave { .. } | Act::Remove { .. } | Act::Release { .. })
    }
}

/// How Redis is while it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Its memory is full.
    Full,
    /// It stands still for longer than the caller waits.
    Frozen,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Act(Act, Weather),
    LoseEverything,
    /// One of its keys.
    LoseKey(usize),
    /// It was started again, with the data of so many steps ago.
    RollBack(usize),
    /// Its clock is set, by so many milliseconds.
    MoveClock(i64),
    /// Somebody ends the locks whose time is over.
    Expire,
    /// The second copy hears nothing for a while, or hears again.
    Deaf(bool),
    /// The gateways notice that something may be lost, and put back what they have.
    Notice,
}

pub(crate) fn any() -> impl Strategy<Value = Step> {
    let conn = || 0..CONNS;
    let of_channel = || (conn(), 0..KINDS.len(), 0..3_u8);
    let act = prop_oneof![
        6 => conn().prop_map(|conn| Act::Join { conn }),
        5 => conn().prop_map(|conn| Act::Update { conn }),
        4 => conn().prop_map(|conn| Act::Leave { conn }),
        3 => of_channel().prop_map(|(conn, kind, key)| Act::Set { conn, kind, key }),
        4 => of_channel().prop_map(|(conn, kind, key)| Act::Change { conn, kind, key }),
        2 => of_channel().prop_map(|(conn, kind, key)| Act::Remove { conn, kind, key }),
        2 => (conn(), 0..LOCKS.len()).prop_map(|(conn, lock)| Act::Guarded { conn, lock }),
        5 => (conn(), 0..LOCKS.len(), prop::bool::ANY).prop_map(|(conn, lock, waits)| Act::Acquire { conn, lock, waits }),
        3 => (conn(), 0..LOCKS.len()).prop_map(|(conn, lock)| Act::Release { conn, lock }),
    ];
    let weather = prop_oneof![12 => Just(Weather::Fair), 1 => Just(Weather::Full), 1 => Just(Weather::Frozen)];
    prop_oneof![
        24 => (act, weather).prop_map(|(act, weather)| Step::Act(act, weather)),
        1 => Just(Step::LoseEverything),
        1 => (0..8_usize).prop_map(Step::LoseKey),
        2 => (1..8_usize).prop_map(Step::RollBack),
        4 => (-30_000..30_000_i64).prop_map(Step::MoveClock),
        1 => Just(Step::Expire),
        2 => prop::bool::ANY.prop_map(Step::Deaf),
        1 => Just(Step::Notice),
    ]
}
