//! What can happen next to channels and locks.

use proptest::{collection::vec, prelude::*};

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A channel changes: one key gets a value, or all keys are replaced by one.
    Change {
        kind: usize,
        key: u8,
        all: bool,
    },
    /// A lock is taken or let go.
    Turn {
        lock: usize,
        owner: u8,
    },
    /// Redis loses a channel, and no one notices.
    LoseChannel {
        kind: usize,
    },
    /// Redis loses everything, or its last changes.
    LoseEverything,
    RollBack {
        changes: usize,
        lose_events: bool,
    },
    MoveClock {
        by_ms: i64,
    },
    /// The gateway notices that Redis may have lost something.
    Notice,
    /// The next change arrives.
    Hear,
    /// The subscription breaks: what is on its way is lost, and the gateway is notified.
    Gap,
    /// The next change is lost without a sign; the one after it will show, if an event of its channel was received.
    LoseSilently,
    /// A catch-up that is under way asks, or its answer comes.
    CatchUp,
    /// Redis refuses it, or stands still for too long.
    Refuse,
    /// A member's queue fills or empties.
    Fill {
        member: usize,
        full: bool,
    },
    /// Somebody joins, and reads.
    Join,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..2, 0u8..3, any::<bool>()).prop_map(|(kind, key, all)| Step::Change { kind, key, all: all && key == 0 }),
        5 => (0usize..2, 0u8..3).prop_map(|(lock, owner)| Step::Turn { lock, owner }),
        1 => (0usize..2).prop_map(|kind| Step::LoseChannel { kind }),
        1 => Just(Step::LoseEverything),
        2 => (1usize..8, any::<bool>()).prop_map(|(changes, lose_events)| Step::RollBack { changes, lose_events }),
        1 => (-60_000i64..60_000).prop_map(|by_ms| Step::MoveClock { by_ms }),
        2 => Just(Step::Notice),
        7 => Just(Step::Hear),
        1 => Just(Step::Gap),
        1 => Just(Step::LoseSilently),
        4 => Just(Step::CatchUp),
        1 => Just(Step::Refuse),
        2 => (0usize..3, any::<bool>()).prop_map(|(member, full)| Step::Fill { member, full }),
        1 => Just(Step::Join),
    ];
    vec(step, 1..60)
}
