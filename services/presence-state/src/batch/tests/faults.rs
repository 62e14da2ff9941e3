//! What cannot be read, or panics, fails alone.

use fred::interfaces::{HashesInterface as _, KeysInterface as _};

use super::*;
use crate::answers::refused_for_memory;

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

#[tokio::test]
async fn each_command_that_a_full_redis_refuses_counts_once_and_none_that_it_carries_out() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let write = |room: &str, op, act: fn(Change) -> Act| {
        let channel = ChannelId { name: room.into(), kind: "T".into() };
        Command::Metadata(Metadata { channel, act: act(change(op)) })
    };
    carry_out(&store, [(write("written", 1, Act::Set), 1), (join("there", "c"), 2)].into_iter().map(incoming)).await;
    let () = bus.commands().custom(fred::cmd!("CONFIG"), vec!["SET", "maxmemory", "1"]).await.unwrap();

    // They share one call, of two senders.
    let joins = ["a", "b", "c"].map(|conn| join("new", conn)).into_iter().zip(1..).map(incoming);
    let joins = joins.map(|one| if one.id == 2 { Incoming { reply_to: "other".into(), ..one } } else { one });
    assert_eq!(refused_for_memory(&carry_out(&store, joins).await), 3);
    // One call that is refused, and what needs no memory is carried out by calls of its own.
    let mixed =
        [metadata("written"), write("written", 2, Act::Set), write("written", 3, Act::Remove), metadata("other")];
    let answers = carry_out(&store, mixed.into_iter().zip(1..).map(incoming)).await;
    assert_eq!(refused_for_memory(&answers), 1, "{:?}", codes(answers));
    let room = "there".into();
    let leave = Command::Leave(Leave { room, conn: "c".into(), op: 2, reason: Reason::Left });
    assert_eq!(refused_for_memory(&carry_out(&store, [incoming((leave, 1))].into_iter()).await), 0);
}
