//! The rate, the line, and who waits in it.

use std::sync::Arc;

use super::{bucket::*, *};

fn bucket(per_s: u32) -> Bucket {
    Bucket { per_s: per_s.into(), ..Bucket::new(Instant::now()) }
}

#[test]
fn the_rate_grows_while_small_requests_are_in_time_and_halves_when_they_are_not() {
    let mut bucket = bucket(LEAST);
    (0..480).for_each(|_| bucket.tick(TICK, Look::InTime));
    assert!(bucket.per_s > 0.9 * f64::from(MOST), "{bucket:?}");
    (0..500).for_each(|_| bucket.tick(TICK, Look::InTime));
    assert_eq!(bucket.per_s, f64::from(MOST));
    bucket.tick(TICK, Look::Late);
    assert_eq!(bucket.per_s, f64::from(MOST) / 2.0);
    bucket.tick(TICK, Look::Blind);
    assert_eq!(bucket.per_s, f64::from(MOST) / 2.0 + BLIND_STEP);
    (0..100).for_each(|_| bucket.tick(TICK, Look::Late));
    assert_eq!(bucket.per_s, f64::from(LEAST));
}

#[test]
fn the_rate_comes_slowly_near_to_what_was_too_much() {
    let mut bucket = bucket(100_000_000);
    (0..2).for_each(|_| bucket.tick(TICK, Look::Late));
    assert_eq!(bucket.per_s, 25e6);
    (0..60).for_each(|_| bucket.tick(TICK, Look::InTime));
    assert!((75e6..80e6).contains(&bucket.per_s), "at once to three quarters of it: {bucket:?}");
    (0..100).for_each(|_| bucket.tick(TICK, Look::InTime));
    assert!(bucket.per_s < 90e6, "{bucket:?}");
    (0..400).for_each(|_| bucket.tick(TICK, Look::InTime));
    assert!(bucket.per_s > 130e6, "after a while it is forgotten: {bucket:?}");
}

#[test]
fn late_looks_with_little_time_between_them_have_one_cause() {
    let mut bucket = bucket(100_000_000);
    for _ in 0..10 {
        bucket.tick(TICK, Look::Late);
        (0..4).for_each(|_| bucket.tick(TICK, Look::Blind));
    }
    assert!(bucket.per_s < 20e6 && bucket.too_much_per_s == 100e6, "{bucket:?}");
}

#[test]
fn what_is_larger_than_a_tick_goes_and_what_follows_waits_for_its_bytes() {
    let (mut bucket, now) = (bucket(LEAST), Instant::now());
    assert!(bucket.take(1_000_000, now) && !bucket.take(1, now));
    (0..6).for_each(|_| bucket.tick(TICK, Look::Late));
    assert!(!bucket.take(1, now), "0.96 of 1 MB are paid");
    bucket.tick(TICK, Look::Late);
    assert!(bucket.take(1, now));
    bucket.tick(Duration::from_secs(60), Look::Late);
    assert!(bucket.bytes <= f64::from(LEAST) * LONGEST_TICK.as_secs_f64(), "a pause saves up little");
}

#[test]
fn however_much_is_delivered_large_work_goes_on() {
    let (mut bucket, now) = (bucket(LEAST), Instant::now());
    let mut went = 0;
    for _ in 0..100 {
        bucket.take_for_events(1 << 30, now);
        went += u32::from(bucket.take(1, now));
        bucket.tick(TICK, Look::Late);
    }
    assert!((15..=20).contains(&went), "{went} of 100 in a second");
}

#[test]
fn a_request_is_late_by_what_it_takes_at_least() {
    let pace = Pace::new();
    assert_eq!((pace.saw(TICK), pace.saw(TICK + LATE)), (Look::Blind, Look::Late));
    pace.answered(Duration::from_millis(50));
    assert_eq!(pace.saw(TICK), Look::InTime, "Redis may be 50 ms away");
    pace.answered(Duration::from_millis(1));
    assert_eq!(pace.saw(TICK), Look::InTime);
    pace.answered(Duration::from_millis(33));
    assert_eq!(pace.saw(TICK), Look::Late);
}

fn looked_at() -> (Arc<Pace>, tokio::task::JoinHandle<()>) {
    let pace = Arc::new(Pace::new());
    let looks = tokio::spawn({
        let pace = Arc::clone(&pace);
        async move { pace.look().await }
    });
    (pace, looks)
}

/// Whether an answer of `bytes` may be made at once.
async fn goes(pace: &Pace, bytes: usize) -> bool {
    timeout(Duration::ZERO, pace.wait_to_answer(bytes)).await.is_ok_and(|result| result.is_ok())
}

#[tokio::test(start_paused = true)]
async fn large_work_waits_while_small_requests_are_late_and_small_work_never_does() {
    let (pace, looks) = looked_at();
    assert!(goes(&pace, 10 << 20).await, "the first one");
    assert!(!goes(&pace, LARGE).await && goes(&pace, LARGE - 1).await);
    // Small requests are late all the time, so 16 MB a second are left.
    let late = tokio::spawn({
        let pace = Arc::clone(&pace);
        async move {
            loop {
                pace.answered(Duration::from_millis(1));
                pace.answered(2 * SLOW);
                sleep(TICK / 2).await;
            }
        }
    });
    sleep(LINGER).await;
    pace.wait_to_write(6_000_000).await.unwrap();
    let waits = [(); 2].map(|()| {
        let pace = Arc::clone(&pace);
        tokio::spawn(async move { pace.wait_to_answer(16_000_000).await })
    });
    let asked = Instant::now();
    tokio::task::yield_now().await;
    assert!(pace.wait_to_answer(LARGE).await.is_err() && asked.elapsed() < TICK, "the line is full");
    let [first, second] = waits;
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(first.is_ok() != second.is_ok(), "one goes after 1.5 s, the other would after 2.5 s");
    assert!((WITHIN..WITHIN + TICK).contains(&asked.elapsed()));
    assert_eq!((pace.waiting(), pace.in_line.load(Ordering::Relaxed)), (0, 0));
    late.abort();
    sleep(WITHIN).await;
    let calm = Instant::now();
    pace.wait_to_answer(LARGE).await.unwrap();
    assert!(calm.elapsed() < 2 * TICK, "no one waits on a calm machine");
    looks.abort();
}

#[tokio::test(start_paused = true)]
async fn after_a_time_without_large_work_the_rate_is_no_higher_than_at_first() {
    let (pace, looks) = looked_at();
    pace.bucket.lock().per_s = MOST.into();
    assert!(goes(&pace, LARGE).await);
    sleep(2 * TICK).await;
    assert!(pace.bucket.lock().per_s <= f64::from(FIRST) + 3.0 * STEP);
    pace.bucket.lock().per_s = LEAST.into();
    sleep(2 * LINGER).await;
    assert!(goes(&pace, LARGE).await);
    sleep(2 * TICK).await;
    assert!(pace.bucket.lock().per_s < f64::from(FIRST), "what was too much is not forgotten");
    looks.abort();
}

#[tokio::test(start_paused = true)]
async fn a_write_is_under_way_until_its_guard_is_dropped_and_those_that_wait_are_bounded_in_time_and_bytes() {
    let pace = Pace::new();
    let all = pace.begin_write(MOST_WRITTEN).await.unwrap();
    assert!(pace.begin_write(LARGE - 1).await.is_ok(), "small writes never wait");
    let asked = Instant::now();
    assert!(pace.begin_write(LARGE).await.is_err());
    assert!((WITHIN..WITHIN + TICK).contains(&asked.elapsed()));
    let mut waits = std::pin::pin!(pace.begin_write(MOST_IN_LINE / WRITE));
    assert!(timeout(Duration::ZERO, waits.as_mut()).await.is_err());
    assert_eq!(pace.waiting(), 1);
    let asked = Instant::now();
    assert!(pace.begin_write(LARGE).await.is_err() && asked.elapsed().is_zero(), "too many bytes wait");
    drop(all);
    let large = waits.await.unwrap();
    assert!(pace.writes.try_begin(LARGE).is_none(), "one that is larger than all goes alone");
    assert_eq!((pace.waiting(), pace.writes_wait.load(Ordering::Relaxed)), (0, 0));
    let never_answered = tokio::spawn(large.during(std::future::pending::<()>()));
    sleep(Duration::from_millis(200)).await;
    assert!(pace.writes.try_begin(LARGE).is_none());
    sleep(Duration::from_millis(100)).await;
    let next = pace.writes.try_begin(MOST_WRITTEN).expect("what is not answered counts for a while only");
    next.during(async {}).await;
    assert!(pace.writes.try_begin(MOST_WRITTEN).is_some());
    never_answered.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_made_without_waiting_is_waited_for() {
    let (pace, looks) = looked_at();
    pace.charge(LARGE - 1);
    assert!(goes(&pace, LARGE).await);
    pace.charge(64 << 20);
    let asked = Instant::now();
    pace.wait_to_answer(LARGE).await.unwrap();
    assert!(asked.elapsed() > 10 * TICK);
    looks.abort();
}
