//! Redis lost members or changes, and they come back.

use std::time::Duration;

use super::World;

#[test]
fn who_settled_is_sent_everything_even_when_the_last_came_back_by_an_event() {
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
fn who_joined_a_room_that_settles_is_sent_who_left_it_since() {
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

#[test]
fn who_was_shown_to_someone_by_an_answer_is_not_kept_out() {
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
fn who_was_answered_by_a_redis_that_went_back_is_not_sent_what_is_known_here() {
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
