//! Members that keep a copy of two channels while changes are lost, come late, or find no room in their queues: in the end
//! every copy is right, and none ever went back.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Instant,
};

use proptest::{collection::vec, prelude::*};
use protocol::{
    Position, RoomId,
    command::metadata::{Item, Record, TypedRecord},
    event::metadata::MetadataEvent,
};
use serde_json::{Value, value::RawValue};

use crate::relay::{
    room::State,
    seat::{Seat, Shown, Sink},
};

const KINDS: [&str; 2] = ["T", "U"];

#[derive(Debug, Clone, Default, PartialEq)]
struct Copy {
    major: u64,
    items: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Member {
    full: bool,
    copies: [Copy; 2],
}

#[derive(Clone, Default)]
struct Reader(Rc<RefCell<Member>>);

impl Sink for Reader {
    fn emit(&self, event: &str, message: &RawValue) -> bool {
        assert_eq!(event, "metadata:event");
        let mut member = self.0.borrow_mut();
        if member.full {
            return false;
        }
        let told: Value = serde_json::from_str(message.get()).unwrap();
        let copy = &mut member.copies[KINDS.iter().position(|kind| told["channelType"] == *kind).unwrap()];
        let major = told["majorRevision"].as_u64().unwrap();
        // As the README has it: what is older than the copy, which an answer may have made, is passed over.
        if major < copy.major || (major == copy.major && told["resync"] != true) {
            return true;
        }
        if told["operation"] == "set" {
            copy.items.clear();
        } else {
            assert_eq!(major, copy.major + 1, "a change is missing before {told}");
        }
        for item in told["items"].as_array().unwrap() {
            let key = item["key"].as_str().unwrap().to_owned();
            if told["operation"] == "remove" {
                copy.items.remove(&key);
            } else {
                copy.items.insert(key, item["value"].as_u64().unwrap());
            }
        }
        copy.major = major;
        true
    }

    fn evicted(&self, _: u64) {}
}

#[derive(Debug, Clone)]
enum Step {
    /// A channel changes: one key gets a value, or all keys are replaced by one.
    Change { kind: usize, key: u8, all: bool },
    /// Redis loses a channel, and it is born anew by a write.
    Lose { kind: usize },
    /// The next change arrives.
    Hear,
    /// The subscription breaks: what is on its way is lost, and the gateway is told.
    Gap,
    /// The next change is lost and nobody says so; the one after it will show, if something was told of its channel.
    LoseSilently,
    /// A catch-up that is under way asks, or its answer comes.
    CatchUp,
    /// A member's queue fills or empties.
    Fill { member: usize, full: bool },
    /// Somebody joins, and reads.
    Join,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..2, 0u8..3, any::<bool>()).prop_map(|(kind, key, all)| Step::Change { kind, key, all: all && key == 0 }),
        1 => (0usize..2).prop_map(|kind| Step::Lose { kind }),
        6 => Just(Step::Hear),
        1 => Just(Step::Gap),
        1 => Just(Step::LoseSilently),
        3 => Just(Step::CatchUp),
        2 => (0usize..3, any::<bool>()).prop_map(|(member, full)| Step::Fill { member, full }),
        1 => Just(Step::Join),
    ];
    vec(step, 1..60)
}

#[derive(Default)]
struct World {
    room: State<Reader>,
    members: Vec<Reader>,
    truth: [Copy; 2],
    clock: u64,
    wire: VecDeque<String>,
    told: [bool; 2],
    fetching: bool,
    answer: Option<Vec<TypedRecord>>,
}

impl World {
    fn id() -> RoomId {
        "room".into()
    }

    fn join(&mut self) {
        let reader = Reader::default();
        reader.0.borrow_mut().copies = self.truth.clone();
        let seat = Seat::new(reader.clone(), Position::default(), Shown::default());
        self.room.seats.insert(format!("c{}", self.members.len()).into(), seat);
        self.members.push(reader);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Change { kind, key, all } => self.change(kind, key, all),
            Step::Lose { kind } => {
                self.truth[kind] = Copy::default();
                self.change(kind, 0, true);
            }
            Step::Hear => self.hear(),
            Step::Gap => {
                self.wire.clear();
                self.catch_up();
            }
            Step::LoseSilently => drop(self.wire.pop_front_if(|text| self.told[kind_of(text)])),
            Step::CatchUp => self.answer(),
            Step::Fill { member, full } => {
                if let Some(reader) = self.members.get(member) {
                    reader.0.borrow_mut().full = full;
                }
            }
            Step::Join => self.join(),
        }
    }

    fn change(&mut self, kind: usize, key: u8, all: bool) {
        self.clock += 1_000;
        let copy = &mut self.truth[kind];
        let all = all || copy.major == 0;
        copy.major = if copy.major == 0 { self.clock } else { copy.major + 1 };
        if all {
            copy.items.clear();
        }
        let value = self.clock.to_string();
        copy.items.insert(format!("k{key}"), self.clock);
        let operation = if all { "set" } else { "update" };
        let (major, length) = (copy.major, value.len());
        self.wire.push_back(format!("m1 {operation} {major} 1\n\n{}\n\n1 {length}\nk{key}\n{value}\n", KINDS[kind]));
    }

    fn hear(&mut self) {
        let Some(text) = self.wire.pop_front() else { return };
        if self.room.hear_metadata(&Self::id(), &MetadataEvent::read(&text).unwrap()) {
            self.catch_up();
        } else {
            self.told[kind_of(&text)] = true;
        }
    }

    fn catch_up(&mut self) {
        self.fetching |= self.room.begin_catchup();
    }

    /// Redis is asked, or, the next time, has answered.
    fn answer(&mut self) {
        if !self.fetching {
            return;
        }
        let Some(records) = self.answer.take() else {
            self.answer = self.room.known_metadata().map(|(known, all)| self.records(if all { &[] } else { &known }));
            self.fetching = self.answer.is_some();
            return;
        };
        let caught = self.room.catch_up_metadata(&Self::id(), &records, Instant::now());
        self.fetching = caught.again.is_some();
    }

    fn records(&self, known: &[(protocol::ChannelType, u64)]) -> Vec<TypedRecord> {
        let kinds = KINDS.iter().zip(&self.truth).filter(|(_, copy)| copy.major > 0);
        let unknown = kinds.filter(|(kind, copy)| !known.contains(&((**kind).into(), copy.major)));
        let item = |(key, value): (&String, &u64)| Item {
            key: key.as_str().into(),
            value: RawValue::from_string(value.to_string()).unwrap(),
            revision: 1,
            updated: None,
            author: None,
        };
        unknown
            .map(|(kind, copy)| {
                let items = copy.items.iter().map(item).collect();
                TypedRecord { kind: (*kind).into(), record: Record { major_revision: copy.major, timestamp: 1, items } }
            })
            .collect()
    }

    fn come_to_rest(&mut self) {
        self.members.iter().for_each(|reader| reader.0.borrow_mut().full = false);
        // A change that was lost unseen shows by the next.
        (0..KINDS.len()).for_each(|kind| self.change(kind, 1, false));
        for _ in 0..1_000 {
            self.hear();
            self.answer();
            if self.wire.is_empty() && !self.fetching {
                return;
            }
        }
        panic!("the room never came to rest");
    }
}

fn kind_of(text: &str) -> usize {
    let event = MetadataEvent::read(text).unwrap();
    KINDS.iter().position(|kind| *kind == event.kind).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_copy_is_right_in_the_end(steps in steps()) {
        let mut world = World::default();
        (0..3).for_each(|_| world.join());
        for step in &steps {
            world.step(step);
        }
        world.come_to_rest();
        for (n, reader) in world.members.iter().enumerate() {
            prop_assert_eq!(&reader.0.borrow().copies, &world.truth, "member {}", n);
        }
    }
}
