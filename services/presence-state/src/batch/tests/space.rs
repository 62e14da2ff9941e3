//! No more is read than may wait to be sent.

use fred::interfaces::KeysInterface as _;
use futures_util::FutureExt as _;
use rollcall_protocol::command::{SnapshotQuery, metadata::ItemChange};

use super::*;

/// Takes all space there is for snapshots of a room; returns it.
fn take_all(spaces: &Spaces, snapshot: &Command) -> Vec<Space> {
    std::iter::from_fn(|| spaces.take(snapshot).now_or_never()).collect()
}

#[tokio::test]
async fn no_more_is_read_than_answers_may_wait() {
    const LARGE: usize = 200 * 1024;
    let server = Redis::start();
    let (_bus, store) = open(&server).await;
    // Eight names with 16 channels each, 25 MiB in all.
    let channel = |n: u64| ChannelId { name: format!("large {}", n % 8).into(), kind: format!("T{n}").into() };
    let value = json(&format!("\"{}\"", "x".repeat(LARGE)));
    let write = |n: u64| {
        let item = ItemChange { key: "k".into(), value: Some(value.clone()), revision: None };
        let act = Act::Set(Change { items: vec![item], ..change(n + 1) });
        (Command::Metadata(Metadata { channel: channel(n), act }), n)
    };
    carry_out(&store, (0..128).map(write).map(incoming)).await;

    let kept = Arc::new(Kept { unsent: Some(Mutex::default()), ..Kept::default() });
    let read = |n: u64| (Command::Metadata(Metadata { channel: channel(n), act: Act::Get }), n);
    let reads = (0..128).map(read).map(incoming).collect();
    let (outlet, store) = (Arc::clone(&kept), Arc::clone(&store));
    let reading = tokio::spawn(async move { crate::batch::carry_out(&store, &*outlet, reads).await });
    let count = || kept.answers.lock().len();
    until("as much to be read as may wait", async || (count() >= 70).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(count() < 90 && !reading.is_finished(), "{} answers of 200 KiB wait", count());
    until("the rest to be read as answers are sent", async || {
        kept.unsent.as_ref().unwrap().lock().clear();
        reading.is_finished().then_some(())
    })
    .await;
    assert_eq!(count(), 128);
}

#[tokio::test]
async fn what_its_asker_gave_up_while_it_waited_for_space_is_not_read() {
    let server = Redis::start();
    let (_bus, store) = open(&server).await;
    let snapshot = || Command::Snapshot(SnapshotQuery { room: "room".into(), known: None });
    carry_out(&store, [(join("room", "first"), 1)].into_iter().map(incoming)).await;
    let kept = Arc::new(Kept::default());
    let all = take_all(&kept.spaces, &snapshot());
    // Joins of one room share a call: the late one fails no other.
    let commands = [snapshot(), join("room", "late"), join("room", "in time")].into_iter().zip(1..);
    let deadlines = [wall_clock_ms() + 100, wall_clock_ms() + 100, u64::MAX];
    let batch = commands.zip(deadlines).map(|(one, deadline_ms)| Incoming { deadline_ms, ..incoming(one) }).collect();
    let outlet = Arc::clone(&kept);
    let working = tokio::spawn(async move { crate::batch::carry_out(&store, &*outlet, batch).await });
    until("the deadline to be over", async || (deadlines[0] < wall_clock_ms()).then_some(())).await;
    drop(all);
    working.await.unwrap();
    let answers = std::mem::take(&mut *kept.answers.lock());
    assert_eq!(codes(answers), [(3, "done")]);
}

#[tokio::test]
async fn how_large_a_room_is_is_learned_from_what_lists_it_alone() {
    let server = Redis::start();
    let (bus, store) = open(&server).await;
    let kept = Kept::default();
    let state = format!("\"{}\"", "x".repeat(15 * 1024));
    let large = |conn: &str| match join("large", conn) {
        Command::Join(one) => Command::Join(Join { state: json(&state), ..one }),
        other => other,
    };
    let joins: Vec<_> = (1..65).map(|id| incoming((large(&id.to_string()), id))).collect();
    crate::batch::carry_out(&store, &kept, joins).await;
    let snapshot = |known| Command::Snapshot(SnapshotQuery { room: "large".into(), known });
    let ask = async |known| {
        crate::batch::carry_out(&store, &kept, vec![incoming((snapshot(known), 1))]).await;
        kept.answers.lock().pop().unwrap().outcome
    };
    let Outcome::Snapshot(read) = &*ask(None).await else { panic!("no snapshot") };
    let fits = || take_all(&kept.spaces, &snapshot(None)).len();
    assert!((10..18).contains(&fits()), "a room of about 1 MiB: {}", fits());
    let expected = fits();
    assert!(matches!(*ask(Some(read.at)).await, Outcome::Unchanged));
    assert_eq!(fits(), expected, "an answer that lists nothing was taken for the room's size");
    let base = bus.subjects().partition(RoomId::from("large").partition());
    let () = bus
        .commands()
        .set(rollcall_keyspace::members(&base, &"large".into()), "no hash", None, None, false)
        .await
        .unwrap();
    assert!(matches!(*ask(None).await, Outcome::Fault(_)));
    assert_eq!(fits(), expected, "a fault was taken for the room's size");
}
