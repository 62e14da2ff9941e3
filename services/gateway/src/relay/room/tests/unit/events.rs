//! Events that arrive late or twice.

use super::World;

#[test]
fn a_leave_that_arrives_after_the_next_join_was_answered_removes_no_one() {
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
