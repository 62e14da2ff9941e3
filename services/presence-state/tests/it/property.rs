//! Random lives of a room, played against Redis and against a model of what it should have done.

mod invariants;
mod model;
mod play;
mod step;

use crate::cases::play_cases;

const CASES: u32 = 96;
const STEPS: usize = 60;

#[test]
fn whatever_connections_do_the_room_is_what_the_model_says() {
    play_cases(CASES, STEPS, step::any(), play::play);
}
