//! Two channels and two locks as Redis has them, and what presence-state makes of them. Redis may lose them, or come back with
//! older ones.

use std::collections::{BTreeMap, VecDeque};

use rollcall_protocol::{
    ChannelId, ChannelType, LockId, RoomId,
    command::{
        lock::Held,
        metadata::{Item, Record, TypedRecord},
    },
};
use serde_json::value::RawValue;

use super::{super::clock::Clock, KINDS, LOCKS};

#[derive(Debug, Clone, Default)]
pub(super) struct Channel {
    pub(super) major: u64,
    pub(super) items: BTreeMap<String, u64>,
    history: u64,
}

/// What Redis has.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) channels: [Channel; KINDS.len()],
    /// Fence and owner of each lock that is held.
    pub(super) locks: [Option<(u64, String)>; LOCKS.len()],
    last_fence: u64,
}

/// See the module.
pub(super) struct Store {
    pub(super) now: Stored,
    past: Vec<Stored>,
    clock: Clock,
    history: u64,
    has_lost: bool,
    /// What was published and has not arrived.
    pub(super) wire: VecDeque<String>,
}

impl Store {
    pub(super) fn new() -> Self {
        let (now, past, wire) = (Stored::default(), Vec::new(), VecDeque::new());
        Self { now, past, clock: Clock::new(), history: 0, has_lost: false, wire }
    }

    /// One key gets a value, or all keys are replaced by one; which they are if the channel is not there.
    pub(super) fn write(&mut self, kind: usize, key: u8, all: bool) {
        self.past.push(self.now.clone());
        let value = self.clock.read_us();
        let channel = &mut self.now.channels[kind];
        let all = all || channel.major == 0;
        if all {
            channel.items.clear();
        }
        channel.items.insert(format!("k{key}"), value);
        let items = [(format!("k{key}"), value)].into();
        self.commit(kind, if all { "set" } else { "update" }, &items);
    }

    /// As `channel_write.lua` does it.
    fn commit(&mut self, kind: usize, operation: &str, items: &BTreeMap<String, u64>) {
        let now_us = self.clock.read_us();
        let channel = &mut self.now.channels[kind];
        channel.major = match channel.major {
            0 => now_us,
            major if channel.history == self.history => major + 1,
            major => now_us.max(major + 1),
        };
        channel.history = self.history;
        let mut text = format!("m1 {operation} {} 1\n\n{}\n\n", channel.major, KINDS[kind]);
        for (key, value) in items {
            let value = value.to_string();
            text += &format!("1 {}\n{key}\n{value}\n", value.len());
        }
        self.wire.push_back(text);
    }

    /// Somebody takes a lock that is free, or lets go of one that is not.
    pub(super) fn turn(&mut self, lock: usize, owner: u8) {
        self.past.push(self.now.clone());
        let now_us = self.clock.read_us();
        let (change, (fence, owner)) = match self.now.locks[lock].take() {
            Some(held) => ("released", held),
            None => {
                self.now.last_fence = now_us.max(self.now.last_fence + 1);
                ("acquired", (self.now.last_fence, format!("u{owner}")))
            }
        };
        if change == "acquired" {
            self.now.locks[lock] = Some((fence, owner.clone()));
        }
        self.wire.push_back(format!("l1 {change} {fence} 1 1\n\n{}\n{}\nc{owner}\n{owner}", KINDS[0], LOCKS[lock]));
    }

    pub(super) fn lose_channel(&mut self, kind: usize) {
        self.lose();
        self.now.channels[kind] = Channel::default();
    }

    pub(super) fn lose_everything(&mut self) {
        self.lose();
        self.now = Stored::default();
    }

    /// Redis was started again, without its last `n` changes.
    pub(super) fn roll_back(&mut self, n: usize) {
        self.lose();
        self.history += 1;
        for _ in 0..n {
            let Some(before) = self.past.pop() else { break };
            self.now = before;
        }
    }

    /// Numbers begin from the clock: set back where numbers are lost, it would give these again.
    fn lose(&mut self) {
        self.clock.catch_up();
        self.has_lost = true;
    }

    pub(super) fn move_clock(&mut self, by_ms: i64) {
        if !self.has_lost || by_ms > 0 {
            self.clock.step(by_ms);
        }
    }

    /// As `Command::Catchup`.
    pub(super) fn catch_up(
        &mut self,
        id: &RoomId,
        known: &[(ChannelType, u64)],
        all: bool,
    ) -> (Vec<TypedRecord>, Vec<Held>) {
        let mut records = Vec::new();
        for (kind, name) in KINDS.iter().enumerate() {
            let known = known.iter().find(|(of, _)| of.as_str() == *name).map_or(0, |(_, major)| *major);
            let Channel { major, items, history } = self.now.channels[kind].clone();
            if (major == 0 && known > 0) || (major < known && history != self.history) {
                self.commit(kind, "set", &items);
            }
            let Channel { major, .. } = self.now.channels[kind];
            if major > 0 && (major != known || all) {
                records.push(TypedRecord { kind: (*name).into(), record: record(major, &items) });
            }
        }
        let locks = self.now.locks.iter().zip(LOCKS).filter_map(|(held, name)| Some((held.as_ref()?, name)));
        let held = |((fence, owner), name): (&(u64, String), &str)| Held {
            lock: LockId { channel: ChannelId { name: id.clone(), kind: KINDS[0].into() }, name: name.into() },
            owner: owner.as_str().into(),
            conn: format!("c{owner}").as_str().into(),
            fence: *fence,
            expires_at_ms: 1,
        };
        (records, locks.map(held).collect())
    }
}

fn record(major: u64, items: &BTreeMap<String, u64>) -> Record {
    let item = |(key, value): (&String, &u64)| Item {
        key: key.as_str().into(),
        value: RawValue::from_string(value.to_string()).unwrap(),
        revision: 1,
        updated: None,
        author: None,
    };
    Record { major_revision: major, timestamp: 1, items: items.iter().map(item).collect() }
}
