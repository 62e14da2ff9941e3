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
