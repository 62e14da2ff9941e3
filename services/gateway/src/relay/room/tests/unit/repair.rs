//! A snapshot is fetched while the room goes on.

use rollcall_protocol::Info;

use super::World;

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
fn a_member_is_sent_its_record_by_its_own_event_and_by_a_snapshot() {
    let mut world = World::new();
    world.joins_here("a");
    // Its join is carried out again, and the answer is lost.
    world.join("a", "a", true);
    world.lose_answer(0);
    let recorded = |world: &World| world.clients["a"].received().recorded;
    let before = recorded(&world);
    world.repaired();
    let by_snapshot = recorded(&world);
    assert!(by_snapshot > before, "{by_snapshot:?}");
    let info = world.clients["a"].received().recorded_info.clone();
    assert_eq!(info.as_ref().map(Info::as_str), Some("{\"n\":1}"), "that of its second join");
    world.update("a", "1");
    world.hears_everything();
    assert!(recorded(&world) > by_snapshot);
}
