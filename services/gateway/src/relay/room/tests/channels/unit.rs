//! What the property test has found, each as the shortest story that shows it.

use super::World;

impl World {
    fn hears_everything(&mut self) {
        while !self.store.wire.is_empty() {
            self.hear();
        }
    }

    fn agrees_on_locks(&self, n: usize) {
        let member = self.members[n].member();
        assert_eq!(member.locks, self.store.now.locks, "member {n} received {:#?}", member.log);
    }
}

#[test]
fn a_lock_that_is_taken_after_redis_was_asked_is_not_said_to_be_free() {
    let mut world = World::new();
    world.catch_up();
    world.answer();
    world.store.turn(0, 1);
    world.hears_everything();
    world.answer();
    world.agrees_on_locks(0);
    assert!(world.store.now.locks[0].is_some() && !world.is_fetching);
}

#[test]
fn a_member_whose_queue_was_full_is_sent_which_locks_ended_meanwhile() {
    let mut world = World::new();
    world.store.turn(0, 1);
    world.hears_everything();
    world.members[0].member().full = true;
    world.store.turn(0, 1);
    world.hears_everything();
    world.members[0].member().full = false;
    world.come_to_rest();
    world.agrees_on_locks(0);
}

#[test]
fn after_a_sync_that_was_given_up_changes_are_delivered_and_synced_again() {
    let mut world = World::new();
    world.catch_up();
    world.answer();
    assert_eq!(world.room.give_up_channels().len(), 3, "everyone comes back, and learns it from the join");
    (world.is_fetching, world.answer) = (false, None);
    world.members.clear();
    world.join();
    world.store.write(1, 0, false);
    world.hears_everything();
    assert_eq!(world.members[0].member().log.len(), 1, "an update, to a channel of which nothing was sent yet");
    world.catch_up();
    assert!(world.is_fetching);
}

/// A page has up to 1 MiB: who has no room for one is not the reason to fetch the next.
#[test]
fn a_member_that_takes_no_page_is_fetched_no_other_page_in_this_round() {
    let mut world = World::new();
    let asks_for_all = |world: &mut World| world.room.ask_for_channels(&world.id).unwrap().all;
    for takes_page in [false, true] {
        world.members[0].member().full = true;
        world.store.write(0, 0, true);
        world.store.write(1, 0, true);
        world.hears_everything();
        world.answer();
        world.members[0].member().full = !takes_page;
        world.answer();
        assert!(world.is_fetching, "there is another page");
        assert_eq!(asks_for_all(&mut world), takes_page);
        world.come_to_rest();
    }
    assert_eq!(world.members[0].member().copies, world.truth());
}
