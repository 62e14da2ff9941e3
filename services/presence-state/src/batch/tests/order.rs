//! One room's commands keep their order, even when they share calls.

use super::*;

/// Also if a later command could run sooner: Redis has to be sent the script of the patch first, and has that of joins.
#[tokio::test]
async fn one_rooms_commands_keep_their_order() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    carry_out(&store, [(join("there", "c"), 1)].into_iter().map(incoming)).await;
    let Command::Join(again) = join("there", "c") else { return };
    let again = Command::Join(Join { op: 3, known_epoch: 7, ..again });
    let patch = Command::Heartbeat(Heartbeat { state: Some(json("2")), ..beat("there") });
    let answers = carry_out(&store, [patch, again].into_iter().zip(1..).map(incoming)).await;
    assert_eq!(codes(answers), [(1, "done"), (2, "done")], "the patch was overtaken");
    let patch = |n: u64| {
        let state = Some(json(&n.to_string()));
        Command::Heartbeat(Heartbeat { op: n, base_op: n - 1, state, ..beat("there") })
    };
    let write = |n: u64| {
        let channel = ChannelId { name: "written".into(), kind: "T".into() };
        Command::Metadata(Metadata { channel, act: Act::Set(change(n)) })
    };
    let mixed = |n: u64| {
        let (room, reason) = ("mixed".into(), Reason::Left);
        let leave = Leave { room, conn: n.to_string().into(), op: 2, reason };
        [join("mixed", &n.to_string()), Command::Leave(leave)]
    };
    let commands = (4..60).flat_map(|n| [patch(n), write(n)]).chain((1..30).flat_map(mixed));
    let answers = carry_out(&store, commands.zip(1..).map(incoming)).await;
    for Addressed { ids, outcome, .. } in answers {
        assert!(!matches!(&*outcome, Outcome::Fault(_) | Outcome::Conflict { .. }), "{ids:?}: {outcome:?}");
    }
    assert!(!keys(&bus).await.iter().any(|key| key.ends_with(":mixed")), "someone left before they came");
}

#[tokio::test]
async fn who_reads_the_same_channel_shares_a_read_until_it_is_written() {
    let server = Redis::start();
    let (_bus, store) = open(&server).await;
    let write = |n: u64| {
        let channel = ChannelId { name: "written".into(), kind: "T".into() };
        Command::Metadata(Metadata { channel, act: Act::Set(change(n)) })
    };
    let read = || metadata("written");
    // Also among commands that share no call with other rooms.
    for (first, op) in [(metadata("first"), 1), (join("written", "c"), 3)] {
        let commands = [first, write(op), read(), read(), write(op + 1), read(), metadata("other"), read()];
        let answers = carry_out(&store, commands.into_iter().zip(1..).map(incoming)).await;
        let mut ids: Vec<_> = answers.iter().map(|answer| answer.ids.clone()).collect();
        ids.sort();
        assert_eq!(ids, [vec![1], vec![2], vec![3, 4], vec![5], vec![6, 8], vec![7]]);
        let revision = |id| match &*answers.iter().find(|answer| answer.ids.contains(&id)).unwrap().outcome {
            Outcome::Record(record) => record.major_revision,
            other => panic!("{other:?}"),
        };
        assert_eq!((revision(2), revision(5)), (revision(3), revision(6)), "each reads what was written before");
    }
    let asked = |sender: &str, id| Incoming { reply_to: sender.into(), ..incoming((read(), id)) };
    let answers = carry_out(&store, [asked("a", 1), asked("b", 2), asked("a", 3)].into_iter()).await;
    let sent: Vec<_> = answers.iter().map(|answer| (&*answer.reply_to, &answer.ids[..])).collect();
    assert_eq!(sent, [("a", &[1, 3][..]), ("b", &[2])], "each sender is answered");
    assert!(Arc::ptr_eq(&answers[0].outcome, &answers[1].outcome));
}
