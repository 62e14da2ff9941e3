//! Random lives of a room, played against Redis and against a model of what it should have done.

mod invariants;
mod model;
mod play;
mod step;

use std::cell::{Cell, RefCell};

use proptest::{
    collection::vec,
    test_runner::{Config, TestRunner},
};

use crate::site::Site;

const CASES: u32 = 96;
const STEPS: usize = 60;

#[test]
fn whatever_connections_do_the_room_is_what_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = RefCell::new(runtime.block_on(Site::open()));
    let case = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let result = runner.run(&vec(step::any(), 1..STEPS), |steps| {
        case.set(case.get() + 1);
        let mut site = site.borrow_mut();
        site.room = format!("case {}", case.get()).into();
        runtime.block_on(play::play(&site, &steps));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
