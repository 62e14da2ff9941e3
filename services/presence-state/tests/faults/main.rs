//! A store that fails in every way: it loses everything or single keys, comes back as it was some steps before, refuses writes
//! because its memory is full, stands still, and its clock jumps. What members believe of who is there, of metadata and of locks
//! is compared with what a newcomer reads and with a model.

#![allow(clippy::unwrap_used, reason = "what a test does not expect may end it")]
#![allow(dead_code, reason = "what is shared with the other tests has more than is needed here")]

#[path = "../it/cases.rs"]
mod cases;
mod channels;
mod copy;
#[path = "../it/events.rs"]
mod events;
mod locks;
mod members;
mod play;
mod received;
mod redis;
#[path = "../it/site.rs"]
mod site;
mod step;

use cases::play_cases;
use site::Site;
use step::{Act, Step, Weather};

const CASES: u32 = 48;
const STEPS: usize = 40;

#[test]
fn whatever_the_store_does_copies_agree_with_it_and_with_the_model() {
    redis::replace_clock();
    play_cases(CASES, STEPS, step::any(), play::play);
}

#[tokio::test]
async fn an_epoch_grows_though_the_clock_was_set_back() {
    redis::replace_clock();
    let site = Site::open().await;
    let act = |act| Step::Act(act, Weather::Fair);
    let (join, leave) = (act(Act::Join { conn: 0 }), act(Act::Leave { conn: 0 }));
    Box::pin(play::play(&site, &[join.clone(), Step::MoveClock(-20_000), leave, join])).await;
}
