//! Members that keep copies of two channels and of who holds two locks, while changes are lost, come late, or find no room in
//! their queues, and while Redis loses data or comes back with older: in the end every copy is right, and none ever went back.

mod reader;
mod step;
mod store;
mod unit;

use std::time::Instant;

use proptest::prelude::*;
use rollcall_protocol::{
    ChannelType, Position, RoomId,
    command::{Catchup, lock::Held, metadata::TypedRecord},
    event::{lock::LockEvent, metadata::MetadataEvent},
};

use self::{
    reader::{Copy, Reader},
    step::{Step, steps},
    store::Store,
};
use crate::relay::room::{Room, shown::Shown, subscriber::Subscriber};

const KINDS: [&str; 2] = ["T", "U"];
/// Locks of the first of them.
const LOCKS: [&str; 2] = ["l", "m"];
/// Members from the beginning. Who joins later asks who holds which lock, and is not compared.
const FOUNDERS: usize = 3;

/// What a sync fetched.
struct Page {
    records: Vec<TypedRecord>,
    held: Option<Vec<Held>>,
    after: Option<ChannelType>,
}

struct World {
    id: RoomId,
    room: Room<Reader>,
    members: Vec<Reader>,
    store: Store,
    /// Whether an event of the channel was received.
    received: [bool; KINDS.len()],
    is_fetching: bool,
    answer: Option<Page>,
    /// Redis may have lost something, and the gateway does not know yet.
    is_unnoticed: bool,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            id: "room".into(),
            room: Room::default(),
            members: Vec::new(),
            store: Store::new(),
            received: [false; KINDS.len()],
            is_fetching: false,
            answer: None,
            is_unnoticed: false,
        };
        (0..FOUNDERS).for_each(|_| world.join());
        world
    }

    fn truth(&self) -> [Copy; KINDS.len()] {
        self.store.now.channels.clone().map(|channel| Copy { major: channel.major, items: channel.items })
    }

    fn join(&mut self) {
        let reader = Reader::default();
        reader.member().copies = self.truth();
        let subscriber = Subscriber::new(reader.clone(), Position::default(), Shown::default());
        self.room.subscribers.insert(format!("c{}", self.members.len()).into(), subscriber);
        self.members.push(reader);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Change { kind, key, all } => self.store.write(kind, key, all),
            Step::Turn { lock, owner } => self.store.turn(lock, owner),
            Step::LoseChannel { kind } => {
                self.store.lose_channel(kind);
                self.store.write(kind, 0, true);
            }
            Step::LoseEverything => {
                self.stop(false);
                self.store.lose_everything();
            }
            Step::RollBack { changes, lose_events } => {
                self.stop(lose_events);
                self.store.roll_back(changes);
            }
            Step::MoveClock { by_ms } => self.store.move_clock(by_ms),
            Step::Notice => self.notice(),
            Step::Hear => self.hear(),
            Step::Gap => {
                self.store.wire.clear();
                self.catch_up();
            }
            Step::LoseSilently => {
                let received = self.received;
                drop(self.store.wire.pop_front_if(|text| kind_of(text).is_some_and(|kind| received[kind])));
            }
            Step::CatchUp => self.answer(),
            Step::Refuse => self.answer = None,
            Step::Fill { member, full } => self.members[member].member().full = full,
            Step::Join => self.join(),
        }
    }

    /// Redis stops. Events travel through it: those under way come before, or not at all.
    fn stop(&mut self, lose_events: bool) {
        while !lose_events && !self.store.wire.is_empty() {
            self.hear();
        }
        if lose_events {
            self.store.wire.clear();
            self.catch_up();
        }
        self.is_unnoticed = true;
    }

    fn notice(&mut self) {
        if std::mem::take(&mut self.is_unnoticed) {
            self.catch_up();
        }
    }

    fn hear(&mut self) {
        let Some(text) = self.store.wire.pop_front() else { return };
        let missed = if let Some(event) = LockEvent::read(&text) {
            self.room.hear_lock(&self.id, &event)
        } else {
            self.room.hear_metadata(&self.id, &MetadataEvent::read(&text).unwrap())
        };
        if missed {
            self.catch_up();
        } else if let Some(kind) = kind_of(&text) {
            self.received[kind] = true;
        }
    }

    fn catch_up(&mut self) {
        self.is_fetching |= self.room.begin_sync();
    }

    /// Redis is asked, or, the next time, has answered.
    fn answer(&mut self) {
        if !self.is_fetching {
            return;
        }
        let Some(Page { records, held, after }) = self.answer.take() else {
            self.answer = self.room.ask_for_channels(&self.id).map(|asked| self.page(&asked));
            return;
        };
        let synced = self.room.take_channels(&self.id, &records, held.as_deref(), after.as_ref(), Instant::now());
        self.is_fetching = synced.next.is_some();
    }

    /// One record at a time.
    fn page(&mut self, asked: &Catchup) -> Page {
        let (mut records, held) = self.store.catch_up(&self.id, &asked.known, asked.all);
        records.retain(|one| asked.after.as_ref().is_none_or(|after| one.kind > *after));
        records.sort_by(|one, other| one.kind.cmp(&other.kind));
        let after = records.get(..1).filter(|_| records.len() > 1).map(|first| first[0].kind.clone());
        records.truncate(1);
        Page { records, held: after.is_none().then_some(held), after }
    }

    fn come_to_rest(&mut self) {
        self.members.iter().for_each(|reader| reader.member().full = false);
        self.notice();
        // A change that was lost unseen shows by the next.
        (0..KINDS.len()).for_each(|kind| self.store.write(kind, 1, false));
        for _ in 0..1_000 {
            self.hear();
            self.answer();
            if self.store.wire.is_empty() && !self.is_fetching {
                return;
            }
        }
        panic!("the room never came to rest");
    }
}

/// The channel that it is about, if it is about metadata.
fn kind_of(text: &str) -> Option<usize> {
    let event = MetadataEvent::read(text)?;
    KINDS.iter().position(|kind| *kind == event.kind)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_copy_is_right_in_the_end(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.come_to_rest();
        for (n, reader) in world.members.iter().enumerate() {
            let member = reader.member();
            prop_assert_eq!(&member.copies, &world.truth(), "member {} received {:#?}", n, member.log);
            if n < FOUNDERS {
                prop_assert_eq!(&member.locks, &world.store.now.locks, "member {} received {:#?}", n, member.log);
            }
        }
    }
}
