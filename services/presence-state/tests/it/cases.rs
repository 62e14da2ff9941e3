//! Random lives: lists of steps, each list played in a room of its own. If a list fails, the shortest one that fails is reported.

use std::{
    cell::{Cell, RefCell},
    fmt::Debug,
};

use proptest::{
    collection::vec,
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};

use crate::site::Site;

/// Plays `cases` lists of fewer than `most` steps.
pub(crate) fn play_cases<S: Debug>(
    cases: u32,
    most: usize,
    step: impl Strategy<Value = S>,
    play: impl AsyncFn(&Site, &[S]),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = RefCell::new(runtime.block_on(Site::open()));
    let case = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&vec(step, 1..most), |steps| {
        case.set(case.get() + 1);
        let mut site = site.borrow_mut();
        site.room = format!("case {}", case.get()).into();
        runtime.block_on(play(&site, &steps));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
