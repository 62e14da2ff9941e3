//! What the property test has found, each as the shortest story that shows it.

use std::time::Duration;

use rollcall_protocol::Info;

use super::world::World;

impl World {
    pub(super) fn hears_everything(&mut self) {
        while !self.wire.is_empty() {
            self.deliver();
        }
    }

    /// `conn` joins here and is answered, and its event arrives.
    pub(super) fn joins_here(&mut self, conn: &str) {
        self.join(conn, conn, true);
        self.answer(self.answers.len() - 1);
        self.hears_everything();
    }

    fn log(&self, conn: &str) -> Vec<String> {
        let told = self.clients[conn].told();
        assert_eq!(told.complaints, Vec::<String>::new());
        told.log.clone()
    }

    /// How many leaves `conn` was told of connections whose ids begin like this.
    pub(super) fn leaves(&self, conn: &str, of: &str) -> usize {
        let start = format!("leave {of}");
        self.log(conn).iter().filter(|event| event.starts_with(&start)).count()
    }

    /// A snapshot is fetched and applied, whatever of it was under way.
    pub(super) fn repaired(&mut self) {
        while self.room.is_repairing() {
            self.step();
        }
    }
}

#[test]
fn who_settled_is_told_the_whole_also_when_the_last_came_back_by_an_event() {
    let mut world = World::new();
    world.joins_here("a");
    world.joins_here("b");
    world.lose_everything(false);
    world.restore("a");
    world.hears_everything();
    world.repaired();
    assert!(!world.log("a").contains(&"sync".to_owned()), "b may come back yet: {:?}", world.log("a"));
    world.restore("b");
    world.come_to_rest();
    assert_eq!(world.log("a").last().map(String::as_str), Some("sync"));
}

#[test]
fn a_leave_that_arrives_after_the_next_join_was_answered_takes_nobody_out() {
    let mut world = World::new();
    world.joins_here("a");
    world.joins_here("b");
    world.evict("b", "left");
    world.join("b", "b", true);
    world.answer(0);
    world.hears_everything();
    world.update("a", "1");
    world.hears_everything();
    assert_eq!(world.log("b"), ["update a"]);
}

#[test]
fn an_event_that_was_heard_twice_is_not_taken_for_one_that_is_missing() {
    let mut world = World::new();
    world.join("a", "a", true);
    world.join("x", "x", false);
    let twice = world.wire.back().cloned();
    world.wire.extend(twice);
    world.hears_everything();
    world.leave("x");
    world.join("b", "b", true);
    world.answer(1);
    world.answer(0);
    world.come_to_rest();
    assert_eq!(world.log("a"), ["join b first or last resync", "sync"], "the leave of x was not heard yet");
}

#[test]
fn who_joined_a_room_that_settles_is_told_who_left_it_since() {
    let mut world = World::new();
    world.joins_here("a");
    world.join("x", "x", false);
    world.hears_everything();
    world.lose_everything(false);
    world.join("z", "z", false);
    world.join("a", "a", true);
    world.answer(0);
    world.leave("z");
    world.wire.pop_back();
    world.hears_everything();
    world.repaired();
    assert_eq!(world.log("a"), [""; 0], "z may come back yet");
    world.come_to_rest();
    assert!(world.log("a").contains(&"leave z first or last resync".to_owned()), "{:?}", world.log("a"));
    assert_eq!(world.log("a").last().map(String::as_str), Some("sync"));
}

#[test]
fn who_comes_back_and_leaves_before_an_answer_is_taken_joins_first() {
    let mut world = World::new();
    world.joins_here("a");
    world.lose_everything(false);
    world.join("b", "b", true);
    world.hears_everything();
    world.repaired();
    world.restore("a");
    world.evict("a", "expired");
    world.hears_everything();
    world.answer(0);
    world.repaired();
    assert_eq!(world.log("b"), ["join a first or last", "leave a first or last"]);
}

#[test]
fn a_leave_that_redis_lost_is_sent_once_though_the_record_came_back() {
    let mut world = World::new();
    world.joins_here("a");
    world.join("b", "b", false);
    world.hears_everything();
    world.leave("b");
    world.hears_everything();
    world.roll_back(1, false, false);
    world.room.begin_recovery(world.now + Duration::from_secs(10), u64::MAX);
    world.repair();
    world.repaired();
    assert!(world.truth().contains_key("b"), "its record came back");
    world.evict("b", "left");
    world.come_to_rest();
    assert_eq!(world.leaves("a", "b"), 1, "{:?}", world.log("a"));
}

/// A queue takes 512 messages; thousands may leave at once with their gateway.
#[test]
fn who_reads_on_is_sent_all_that_it_missed_bit_by_bit_and_at_once() {
    let mut world = World::new();
    world.joins_here("a");
    for conn in ["p", "q", "r", "s", "t"] {
        world.join(conn, conn, false);
    }
    world.hears_everything();
    world.clients["a"].has_space(Some(1));
    for conn in ["p", "q", "r", "s", "t"] {
        world.evict(conn, "node_lost");
    }
    world.hears_everything();
    world.repaired();
    let began = world.now;
    for _ in 0..2 {
        world.clients["a"].has_space(Some(2));
        world.now = world.catch_up_at.unwrap();
        world.step();
        world.repaired();
    }
    assert_eq!(world.leaves("a", ""), 5, "{:?}", world.log("a"));
    world.clients["a"].has_space(None);
    assert!(world.catch_up_at.unwrap().duration_since(began) < Duration::from_millis(100));
    world.come_to_rest();
    assert_eq!(world.leaves("a", ""), 5, "{:?}", world.log("a"));
    assert_eq!(world.log("a").last().map(String::as_str), Some("sync"));
}

#[test]
fn who_was_shown_to_somebody_by_an_answer_is_not_kept_out() {
    let mut world = World::new();
    world.joins_here("a");
    world.lose_everything(false);
    world.join("x", "x", false);
    world.notice();
    world.join("b", "b", true);
    world.join("c", "c", true);
    world.repair();
    world.repaired();
    world.come_to_rest();
    assert_eq!(world.leaves("b", "x"), 0, "{:?}", world.log("b"));
}

#[test]
fn who_was_seated_while_the_room_was_looked_at_is_ahead_of_what_is_known() {
    let mut world = World::new();
    world.joins_here("a");
    world.repair();
    world.step(); // it is asked, and will be answered that nothing has changed
    world.join("c", "c", true);
    world.answer(0);
    world.refuse("c", 0);
    world.step();
    assert_eq!(world.leaves("c", ""), 0, "{:?}", world.log("c"));
    world.come_to_rest();
    assert_eq!(world.leaves("c", ""), 0, "{:?}", world.log("c"));
}

#[test]
fn who_was_answered_by_a_redis_that_went_back_is_not_told_what_is_known_here() {
    let mut world = World::new();
    world.joins_here("a");
    world.join("x", "x", false);
    world.hears_everything();
    world.repair();
    world.step();
    world.roll_back(1, false, false);
    world.join("y", "y", false);
    world.join("c", "c", true);
    world.answer(0);
    world.refuse("c", 0);
    world.step();
    assert_eq!(world.leaves("c", "y"), 0, "{:?}", world.log("c"));
    world.come_to_rest();
}

#[test]
fn what_is_missed_while_the_first_join_is_under_way_is_looked_for_after_it() {
    let mut world = World::new();
    world.join("a", "a", true);
    world.join("b", "b", false);
    world.wire.clear();
    world.repair();
    assert!(!world.room.is_repairing(), "there is nothing to compare with yet");
    world.answer(0);
    assert!(world.room.is_repairing(), "no later event would show the gap");
    world.repaired();
    assert_eq!(world.log("a"), ["join b first or last resync", "sync"]);
}

/// Neither its room nor Redis is asked for anything.
#[test]
fn who_is_behind_is_brought_up_to_date_from_the_roster() {
    let mut world = World::new();
    world.joins_here("a");
    world.joins_here("b");
    world.clients["a"].has_space(Some(0));
    for state in ["1", "2", "3"] {
        world.update("b", state);
    }
    world.hears_everything();
    assert!(!world.room.is_repairing(), "the others would wait");
    assert_eq!(world.log("b").iter().filter(|event| *event == "update b").count(), 3);
    world.clients["a"].has_space(None);
    world.now = world.catch_up_at.unwrap();
    world.step();
    assert!(!world.room.is_repairing() && world.catch_up_at.is_none());
    assert_eq!(world.log("a"), ["join b first or last", "update b resync", "sync"]);
}

#[test]
fn a_room_that_cannot_be_read_has_no_members_and_begins_again_with_the_next_join() {
    let mut world = World::new();
    world.joins_here("a");
    world.join("b", "b", true);
    world.repair();
    assert_eq!(world.room.give_up_repair(world.repair + 1).len(), 0, "another repair");
    assert_eq!(world.room.give_up_repair(world.repair).len(), 1);
    assert!(!world.room.is_repairing() && world.room.count() == 0);
    // What the room said meanwhile was dropped, so the answer may know less than that.
    world.join("c", "c", false);
    world.wire.clear();
    world.answer(0);
    assert!(world.room.is_repairing());
    world.repaired();
    assert_eq!(world.log("b"), ["join c first or last resync", "sync"]);
}

#[test]
fn a_repair_that_the_room_forgot_asks_for_nothing_more() {
    let mut world = World::new();
    world.joins_here("a");
    world.repair();
    let forgotten = world.repair;
    world.leave("a");
    world.repair();
    world.joins_here("b");
    assert!(world.room.ask(forgotten).is_none() && world.room.give_up_repair(forgotten).is_empty());
    assert_eq!(world.room.count(), 1);
}

#[test]
fn a_member_is_told_its_record_by_its_own_event_and_by_a_snapshot() {
    let mut world = World::new();
    world.joins_here("a");
    // Its join is carried out again, and the answer is lost.
    world.join("a", "a", true);
    world.lose_answer(0);
    let recorded = |world: &World| world.clients["a"].told().recorded;
    let before = recorded(&world);
    world.repaired();
    let by_snapshot = recorded(&world);
    assert!(by_snapshot > before, "{by_snapshot:?}");
    let info = world.clients["a"].told().recorded_info.clone();
    assert_eq!(info.as_ref().map(Info::as_str), Some("{\"n\":1}"), "that of its second join");
    world.update("a", "1");
    world.hears_everything();
    assert!(recorded(&world) > by_snapshot);
}
