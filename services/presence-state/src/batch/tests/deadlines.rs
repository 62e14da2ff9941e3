//! What is late changes nothing.

use super::*;

#[tokio::test]
async fn commands_that_reach_redis_after_their_deadline_are_not_carried_out() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let members = ["there", "left"].map(|room| join(room, "c"));
    carry_out(&store, members.into_iter().zip(1..).map(incoming)).await;
    let before = keys(&bus).await;
    let commands = writes();
    let expected: Vec<_> = (1..).zip(&commands).map(|(id, _)| (id, "UNAVAILABLE")).collect();
    let () = bus.commands().custom(fred::cmd!("CLIENT"), vec!["PAUSE", "600", "ALL"]).await.unwrap();
    let deadline_ms = wall_clock_ms() + 300;
    let late = commands.into_iter().zip(1..).map(|one| Incoming { deadline_ms, ..incoming(one) });
    assert_eq!(codes(carry_out(&store, late).await), expected);
    assert_eq!(keys(&bus).await, before);

    // Rooms that share a call: the earliest deadline counts.
    let () = bus.commands().custom(fred::cmd!("CLIENT"), vec!["PAUSE", "600", "ALL"]).await.unwrap();
    let deadlines = [wall_clock_ms() + 300, wall_clock_ms() + 5_000];
    let patches = ["there", "left"].map(|room| Command::Heartbeat(Heartbeat { state: Some(json("2")), ..beat(room) }));
    let late = patches.into_iter().zip(1..).zip(deadlines);
    let late = late.map(|(one, deadline_ms)| Incoming { deadline_ms, ..incoming(one) });
    assert_eq!(codes(carry_out(&store, late).await)[0], (1, "UNAVAILABLE"));
    let now = writes().into_iter().zip(1..).map(incoming);
    let done: Vec<_> = expected.iter().map(|(id, _)| (*id, "done")).collect();
    assert_eq!(codes(carry_out(&store, now).await), done, "in time all of them are");
}

#[tokio::test]
async fn commands_that_are_late_already_are_neither_carried_out_nor_answered() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let commands = writes().into_iter().chain([heartbeat("there"), metadata("written")]).zip(1..);
    let late = commands.map(|one| Incoming { deadline_ms: wall_clock_ms() - 1, ..incoming(one) });
    assert_eq!(codes(carry_out(&store, late).await), []);
    assert_eq!(keys(&bus).await, [""; 0]);
}
