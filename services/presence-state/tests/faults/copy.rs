//! What a member believes of the room, of its metadata and of its locks, by the events and by what it is answered where one is
//! missing. It knows no Redis.

use std::collections::BTreeMap;

use rollcall_protocol::{
    ChannelType, Info, Position,
    command::{Snapshot, lock::Held, metadata::TypedRecord},
    event::{
        Kind, RoomEvent,
        lock::{Change, LockEvent},
        metadata::{MetadataEvent, Operation},
    },
};

use crate::site::info_text;

/// User, epoch, info and state of each connection.
pub(crate) type Roster = BTreeMap<String, (String, u64, String, String)>;
/// Value and revision of each key.
pub(crate) type Items = BTreeMap<String, (String, u64)>;
/// Fence and connection of each lock that is held.
pub(crate) type Holders = BTreeMap<String, (u64, String)>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Copy {
    pub(crate) at: Position,
    pub(crate) roster: Roster,
    /// `majorRevision` and items of each type.
    pub(crate) channels: BTreeMap<String, (u64, Items)>,
    pub(crate) holders: Holders,
    /// Events are lost on the way to it.
    pub(crate) is_deaf: bool,
    /// It missed an event of the room, and needs a snapshot.
    pub(crate) lacks_members: bool,
    /// It missed a change of a channel, and needs the whole.
    pub(crate) lacks_channels: bool,
}

impl Copy {
    pub(crate) fn hear(&mut self, text: &str) {
        if self.is_deaf {
        } else if let Some(event) = MetadataEvent::read(text) {
            self.hear_metadata(&event);
        } else if let Some(event) = LockEvent::read(text) {
            hear_lock(&mut self.holders, &event);
        } else {
            self.hear_member(&RoomEvent::read(text).unwrap());
        }
    }

    fn hear_member(&mut self, event: &RoomEvent<'_>) {
        let is_next = event.at.generation == self.at.generation
            && event.at.seq == self.at.seq + 1
            && event.previous_token == self.at.token;
        if !is_next || self.lacks_members {
            self.lacks_members = true;
            return;
        }
        self.at = event.at;
        match event.kind {
            Kind::Leave => drop(self.roster.remove(event.conn)),
            _ => {
                let (info, state) = (info_text(event.info).to_owned(), event.state.get().to_owned());
                let known = (event.user.to_owned(), event.epoch, info, state);
                self.roster.insert(event.conn.to_owned(), known);
            }
        }
    }

    /// A change is the next one of its channel, or replaces the whole; an older one is known.
    fn hear_metadata(&mut self, event: &MetadataEvent<'_>) {
        let (major, items) = self.channels.entry(event.kind.to_owned()).or_default();
        if event.major_revision <= *major {
            return;
        }
        match event.operation {
            Operation::Set => items.clear(),
            _ if event.major_revision != *major + 1 => {
                self.lacks_channels = true;
                return;
            }
            _ => {}
        }
        *major = event.major_revision;
        for item in &event.items {
            if event.operation == Operation::Remove {
                items.remove(item.key);
            } else {
                items.insert(item.key.to_owned(), (item.value.get().to_owned(), item.revision));
            }
        }
    }

    pub(crate) fn take_snapshot(&mut self, snapshot: &Snapshot) {
        (self.at, self.roster, self.lacks_members) = (snapshot.at, roster(snapshot), false);
    }

    /// What it knows of channels, for what it lacks.
    pub(crate) fn known(&self) -> Vec<(ChannelType, u64)> {
        let known = self.channels.iter().filter(|(_, (major, _))| *major > 0);
        known.map(|(kind, (major, _))| (kind.as_str().into(), *major)).collect()
    }

    pub(crate) fn take_channels(&mut self, records: &[TypedRecord], held: &[Held]) {
        for TypedRecord { kind, record } in records {
            let channel = self.channels.entry(kind.as_str().to_owned()).or_default();
            if record.major_revision > channel.0 {
                *channel = (record.major_revision, items(&record.items));
            }
        }
        (self.holders, self.lacks_channels) = (holders(held), false);
    }
}

/// Who holds which lock after `event`.
pub(crate) fn hear_lock(holders: &mut Holders, event: &LockEvent<'_>) {
    if event.change == Change::Acquired {
        holders.insert(event.name.to_owned(), (event.fence, event.conn.to_owned()));
    } else {
        holders.remove(event.name);
    }
}

pub(crate) fn roster(snapshot: &Snapshot) -> Roster {
    let entry = |member: &rollcall_protocol::command::Member| {
        let info = info_text(member.info.as_ref().map(Info::json)).to_owned();
        let known = (member.user.as_str().to_owned(), member.epoch, info, member.state.get().to_owned());
        (member.conn.as_str().to_owned(), known)
    };
    snapshot.members.iter().map(entry).collect()
}

pub(crate) fn items(items: &[rollcall_protocol::command::metadata::Item]) -> Items {
    items.iter().map(|item| (item.key.as_str().to_owned(), (item.value.get().to_owned(), item.revision))).collect()
}

pub(crate) fn holders(held: &[Held]) -> Holders {
    held.iter().map(|one| (one.lock.name.as_str().to_owned(), (one.fence, one.conn.as_str().to_owned()))).collect()
}
