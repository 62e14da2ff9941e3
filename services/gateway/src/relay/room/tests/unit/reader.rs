//! Members that read slowly.

use std::time::Duration;

use super::World;

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

/// Three members lack an event of the fourth, and read again.
fn three_lack_an_event() -> World {
    let mut world = World::new();
    ["a", "b", "c", "d"].iter().for_each(|conn| world.joins_here(conn));
    ["a", "b", "c"].iter().for_each(|conn| world.clients[*conn].has_space(Some(0)));
    world.update("d", "1");
    world.hears_everything();
    ["a", "b", "c"].iter().for_each(|conn| world.clients[*conn].has_space(None));
    world
}

/// Thousands of members that lack megabytes would hold up the room, and the process.
#[test]
fn a_turn_sends_so_much_and_the_next_one_comes_at_once() {
    let mut world = three_lack_an_event();
    world.has_turns_of_one_message();
    let syncs = |world: &World| ["a", "b", "c"].map(|conn| world.clients[conn].received().syncs).iter().sum::<usize>();
    world.now = world.catch_up_at.unwrap();
    // Each lacks an event and a sync, and no one is sent the second before all have the first.
    for turn in 0..6_usize {
        assert_eq!((syncs(&world), world.catch_up_at), (turn.saturating_sub(3), Some(world.now)));
        world.step();
    }
    assert_eq!(syncs(&world), 3);
    world.step();
    assert_eq!(world.catch_up_at, None);
}

/// Its time is what it takes nothing for, not what the others take before it.
#[test]
fn who_had_no_turn_yet_is_not_late() {
    let mut world = three_lack_an_event();
    world.has_turns_of_one_message();
    world.wait(11_000);
    while world.catch_up_at.is_some() {
        world.step();
    }
    assert_eq!(world.room.count(), 4);
}

#[test]
fn who_takes_nothing_for_ten_seconds_is_late() {
    let mut world = three_lack_an_event();
    world.clients["a"].has_space(Some(0));
    world.wait(11_000);
    world.step();
    assert!(!world.clients.contains_key("a") && world.room.count() == 3);
}
