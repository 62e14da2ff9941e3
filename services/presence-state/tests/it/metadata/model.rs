//! Random writes of several connections to two channels, played against Redis and against a map in Rust.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rollcall_presence_state::store::Written;
use rollcall_protocol::{
    command::metadata::{Act, Change, Rejection},
    event::metadata::{MetadataEvent, Operation},
};

use super::{change, item, items};
use crate::{cases::play_cases, site::Site};

const CASES: u32 = 64;
const STEPS: usize = 40;
const KINDS: [&str; 2] = ["T", "T:x"];

/// What a writer believes of a revision.
#[derive(Debug, Clone, Copy)]
enum Belief {
    Nothing,
    Current,
    Wrong,
}

#[derive(Debug, Clone)]
struct Step {
    conn: usize,
    kind: usize,
    verb: usize,
    /// Key, value (none leaves it as it is), belief.
    items: BTreeMap<u8, (Option<u8>, Belief)>,
    major: Belief,
    /// It is sent twice.
    again: bool,
}

fn belief() -> impl Strategy<Value = Belief> {
    prop_oneof![3 => Just(Belief::Nothing), 2 => Just(Belief::Current), 1 => Just(Belief::Wrong)]
}

fn step() -> impl Strategy<Value = Step> {
    let items = proptest::collection::btree_map(0u8..4, (proptest::option::of(0u8..3), belief()), 0..4);
    (0usize..3, 0usize..2, 0usize..4, items, belief(), any::<bool>())
        .prop_map(|(conn, kind, verb, items, major, again)| Step { conn, kind, verb, items, major, again })
}

#[derive(Default)]
struct Model {
    major: u64,
    items: BTreeMap<String, (String, u64)>,
}

impl Model {
    fn expect(&self, belief: Belief, actual: u64) -> Option<u64> {
        match belief {
            Belief::Nothing => None,
            Belief::Current => Some(actual),
            Belief::Wrong => Some(actual + 1),
        }
    }

    /// What the write comes to: whether anything changed.
    fn write(&mut self, act: &Act) -> Result<bool, Rejection> {
        let change = act.change().unwrap();
        if let Some(expected) = change.options.major_revision.filter(|major| *major != self.major) {
            return Err(Rejection::Conflict { key: None, expected, actual: self.major });
        }
        let found = |key: &str| self.items.get(key).cloned();
        if matches!(act, Act::Update(_)) {
            if self.major == 0 {
                return Err(Rejection::Absent { key: None });
            }
            if let Some(absent) = change.items.iter().find(|item| found(item.key.as_str()).is_none()) {
                return Err(Rejection::Absent { key: Some(absent.key.clone()) });
            }
        }
        if !matches!(act, Act::Set(_)) {
            for item in &change.items {
                if let (Some((_, actual)), Some(expected)) = (found(item.key.as_str()), item.revision)
                    && actual != expected
                {
                    return Err(Rejection::Conflict { key: Some(item.key.clone()), expected, actual });
                }
            }
        }
        let value =
            |item: &rollcall_protocol::command::metadata::ItemChange| item.value.as_ref().map(|v| v.get().to_owned());
        match act {
            Act::Set(_) => {
                let new = |item| (value(item).unwrap_or_else(|| "\"\"".to_owned()), item.revision.unwrap_or(0).max(1));
                self.items = change.items.iter().map(|item| (item.key.as_str().to_owned(), new(item))).collect();
                Ok(true)
            }
            Act::Update(_) => {
                for item in &change.items {
                    let (old, revision) = self.items.get_mut(item.key.as_str()).unwrap();
                    *old = value(item).unwrap_or_else(|| old.clone());
                    *revision += 1;
                }
                Ok(true)
            }
            Act::Clear(_) => Ok(!std::mem::take(&mut self.items).is_empty()),
            _ => {
                let gone = change.items.iter().filter(|item| self.items.remove(item.key.as_str()).is_some());
                Ok(gone.count() > 0)
            }
        }
    }
}

/// What a member makes of the events.
#[derive(Default)]
struct Member {
    major: u64,
    items: BTreeMap<String, (String, u64)>,
}

impl Member {
    fn hear(&mut self, event: &MetadataEvent<'_>) {
        assert!(self.major == 0 || event.major_revision == self.major + 1, "{event:?} after {}", self.major);
        self.major = event.major_revision;
        if event.operation == Operation::Set {
            self.items.clear();
        }
        for item in &event.items {
            if event.operation == Operation::Remove {
                self.items.remove(item.key).unwrap();
            } else {
                self.items.insert(item.key.to_owned(), (item.value.get().to_owned(), item.revision));
            }
        }
    }
}

#[test]
fn whatever_is_written_the_channels_are_what_the_model_says() {
    play_cases(CASES, STEPS, step(), play);
}

async fn play(site: &Site, steps: &[Step]) {
    let mut events = site.listen().await;
    let mut models: [Model; 2] = Default::default();
    let mut members: [Member; 2] = Default::default();
    for (step, op) in steps.iter().zip(1..) {
        let (kind, model) = (KINDS[step.kind], &mut models[step.kind]);
        let act = act(step, op, model);
        let expected = model.write(&act);
        for n in 0..=u8::from(step.again) {
            match (site.write(kind, &act).await, &expected) {
                (Written::Done(record), Ok(changed)) => {
                    let is_new = *changed && n == 0;
                    assert!(model.major == 0 || record.major_revision == model.major + u64::from(is_new), "{act:?}");
                    assert!(record.major_revision > 0 || !changed);
                    model.major = record.major_revision;
                }
                (Written::Rejected(rejected), Err(expected)) => assert_eq!(rejected, *expected),
                (written, expected) => panic!("{act:?}: {written:?}, not {expected:?}"),
            }
        }
        let record = site.record(kind).await;
        let expected: Vec<_> = model.items.iter().map(|(key, (value, n))| (key.as_str(), value.as_str(), *n)).collect();
        assert_eq!((record.major_revision, items(&record)), (model.major, expected));
        for text in events.texts().await {
            let event = MetadataEvent::read(&text).unwrap();
            members[KINDS.iter().position(|kind| *kind == event.kind).unwrap()].hear(&event);
        }
        assert_eq!(members[step.kind].items, models[step.kind].items);
        assert_eq!(members[step.kind].major, models[step.kind].major);
    }
}

fn act(step: &Step, op: u64, model: &Model) -> Act {
    let asked = step.items.iter().map(|(key, (value, belief))| {
        let key = format!("k{key}");
        let actual = model.items.get(&key).map_or(0, |(_, revision)| *revision);
        item(&key, value.map(|value| format!("{{\"v\":{value}}}")).as_deref(), model.expect(*belief, actual))
    });
    let mut change = change(&format!("c{}", step.conn), op, asked.collect());
    change.options.major_revision = model.expect(step.major, model.major);
    match step.verb {
        0 => Act::Set(change),
        1 => Act::Update(change),
        2 => Act::Remove(change),
        _ => Act::Clear(Change { items: Vec::new(), ..change }),
    }
}
