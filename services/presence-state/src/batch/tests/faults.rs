//! What cannot be read, or panics, fails alone.

use fred::interfaces::{HashesInterface as _, KeysInterface as _};

use super::*;

#[tokio::test]
async fn a_room_that_cannot_be_read_does_not_affect_others() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let base = |room: &RoomId| bus.subjects().partition(room.partition());
    let record = |room: &RoomId| rollcall_keyspace::members(&base(room), room);
    for room in ["before", "after"].map(RoomId::from) {
        let head = (rollcall_keyspace::room(&base(&room), &room), ("head", "1 1 1 10 1 00000000"));
        let () = bus.commands().hset(head.0, head.1).await.unwrap();
        let () = bus.commands().hset(record(&room), ("c", "7\n1\nn\nann\n\n{}")).await.unwrap();
    }
    let broken = RoomId::from("broken");
    for key in [record(&broken), rollcall_keyspace::revisions(&base(&broken), &broken)] {
        let () = bus.commands().set(key, "no hash", None, None, false).await.unwrap();
    }

    let rooms = ["before", "broken", "after"];
    let commands = rooms.map(heartbeat).into_iter().chain(rooms.map(metadata));
    let mut answers = carry_out(&store, commands.zip(1..).map(incoming)).await;
    answers.sort_by_key(|answer| answer.ids[0]);
    let codes: Vec<_> = answers
        .iter()
        .map(|answer| match &*answer.outcome {
            Outcome::Fault(fault) => fault.code.as_str(),
            Outcome::Beat { .. } => "taken",
            Outcome::Record(_) => "read",
            _ => "something else",
        })
        .collect();
    assert_eq!(codes, ["taken", "INTERNAL", "taken", "read", "INTERNAL", "read"]);
}

#[tokio::test]
async fn commands_whose_work_panics_are_answered_internal() {
    let commands: Vec<_> = [(heartbeat("a"), 1), (metadata("b"), 2)].map(incoming).into();
    let panics = async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    };
    assert_eq!(codes(panics::catch(&commands, panics).await.answers), [(1, "INTERNAL"), (2, "INTERNAL")]);
    let works = async { Done::all(&commands, addressed(&commands, vec![Outcome::Missing, Outcome::Missing])) };
    assert_eq!(codes(panics::catch(&commands, works).await.answers), [(1, "done"), (2, "done")]);
}
