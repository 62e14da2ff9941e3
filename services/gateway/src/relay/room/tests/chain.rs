//! Positions form a chain: a fork is noticed at its first event, even if no one noticed that Redis came back with older data.

use super::world::World;

impl World {
    fn next_event_is_lost(&mut self) {
        self.wire.pop_back();
    }

    fn left(&self, conn: &str) -> bool {
        self.leaves("a", conn) > 0
    }
}

/// `a` is here, `b` joined elsewhere, and then Redis lost that join.
fn forked() -> World {
    let mut world = World::new();
    world.joins_here("a");
    world.join("b", "b", false);
    world.hears_everything();
    world.roll_back(1, false, false);
    world
}

/// The next event begins a repair, and no one is sent a leave of `b`.
fn notices_the_fork(mut world: World, if_not: &str) {
    world.hears_everything();
    assert!(world.room.is_repairing(), "{if_not}");
    world.repaired();
    assert!(!world.left("b"), "its gateway restores it");
    world.come_to_rest();
    assert!(!world.left("b"));
}

#[test]
fn an_event_with_a_known_number_and_a_later_token_is_of_a_fork() {
    let mut world = forked();
    world.update("a", "1");
    assert_eq!(world.at().seq, 2, "as the join of b");
    notices_the_fork(world, "it was taken for the join of b, heard twice");
}

#[test]
fn an_event_with_the_next_number_and_another_previous_token_is_of_a_fork() {
    let mut world = forked();
    world.update("a", "1");
    world.next_event_is_lost();
    world.update("a", "2");
    assert_eq!(world.at().seq, 3, "one more than the join of b");
    notices_the_fork(world, "it was taken for the event after the join of b");
}
