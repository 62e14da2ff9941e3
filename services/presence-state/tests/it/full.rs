//! A Redis whose memory is full: nothing new is stored, nothing is half done, and what frees memory or keeps members goes on.

use fred::interfaces::{ClientLike as _, HashesInterface as _};
use rollcall_presence_state::store::Written;
use rollcall_protocol::{
    Code,
    command::{
        Audit, Heartbeat, Join, JoinResult,
        lock::{Acquire, Locked},
        metadata::{Act, Metadata, Rejection},
    },
    event::{Reason, RoomEvent},
    limits::{MAX_CHANNEL_BYTES, MAX_ROOM_BYTES, MAX_ROOM_MEMBERS},
};
use rollcall_telemetry::propagation::TraceContext;
use tracing::Span;

use crate::{
    locks::held,
    metadata::{change, channel, item, items},
    site::{GATEWAY, Site, beat, conns, epoch, info, join, json, restored},
};

#[tokio::test]
async fn what_is_new_is_refused_and_what_is_there_stays_true() {
    let site = Site::open().await;
    let joined = site.join_together(&[join("c1", "ann", 1), join("c2", "bob", 1)]).await;
    let set = Act::Set(change("c1", 1, vec![item("k", Some("1"), None), item("l", Some("1"), None)]));
    site.write("T", &set).await;
    let mut events = site.listen().await;
    site.fill(true).await;

    let refused = |fault: rollcall_protocol::Fault| assert_eq!(fault.code, Code::Overloaded, "{fault}");
    let one = join("c3", "cyd", 1);
    let joins = [(&one, TraceContext::default())];
    refused(site.store.join(site.caller(), &site.room, &joins).await.unwrap_err());
    let patch = Heartbeat { state: Some(json(r#"{"n":1}"#)), ..beat("c1", 2, 1) };
    refused(site.store.heartbeats(u64::MAX, &[(&patch, &Span::none())]).await.unwrap_err());
    for act in [Act::Set(change("c1", 2, vec![])), Act::Update(change("c1", 2, vec![item("k", Some("2"), None)]))] {
        let asked = Metadata { channel: channel(&site, "T"), act };
        refused(site.store.write_metadata(site.caller(), &asked).await.unwrap_err());
    }
    assert!(events.texts().await.is_empty(), "nothing was published");

    assert_eq!(conns(&site.snapshot().await.members), ["c1", "c2"]);
    assert_eq!(items(&site.record("T").await), [("k", "1", 1), ("l", "1", 1)]);
    site.write("T", &Act::Remove(change("c1", 3, vec![item("k", None, None)]))).await;
    assert_eq!(items(&site.record("T").await), [("l", "1", 1)]);
    assert_eq!(site.leave("c1", 3).await, Some(1));
    assert_eq!(site.restore(GATEWAY, vec![restored("c1", "ann", 1, epoch(&joined.joins[0]), "{}")]).await, 1);
    let audit = Audit {
        partition: site.room.partition(),
        gateway: GATEWAY.into(),
        rooms: vec![(site.room.clone(), 2)],
        strays_before_ms: 0,
    };
    assert!(site.store.audit(site.caller(), &audit).await.unwrap().differing.is_empty());
    assert_eq!(site.reap(&[GATEWAY]).await.evicted, 2);
    let received = events.texts().await;
    let leaves = received.iter().filter_map(|text| RoomEvent::read(text));
    assert_eq!(leaves.filter(|event| event.reason == Some(Reason::NodeLost)).count(), 2);

    site.fill(false).await;
    assert_eq!(site.join(join("c3", "cyd", 1)).await.seq, 1, "and all is as before");
}

#[tokio::test]
async fn a_room_takes_no_more_than_it_may() {
    let site = Site::open().await;
    let state = format!(r#"{{"a":"{}"}}"#, "x".repeat(15_000));
    let join_large = |n: u64| Join { state: json(&state), ..join(&format!("c{n}"), "ann", 1) };
    let mut events = site.listen().await;
    let mut admitted = 0;
    'full: loop {
        let joins: Vec<_> = (admitted..admitted + 50).map(join_large).collect();
        for one in site.join_together(&joins).await.joins {
            if one.result == JoinResult::Full {
                break 'full;
            }
            admitted += 1;
        }
    }
    assert!((540..560).contains(&admitted), "{admitted}");
    let refused = site.join_together(&[join_large(admitted), join_large(admitted + 1)]).await;
    assert!(refused.before.is_empty(), "who is refused costs no one a look at the room");
    assert_eq!(events.so_far().await.len() as u64, admitted, "no event is sent about a refused join");
    assert_eq!(site.snapshot().await.members.len() as u64, admitted);
    let larger = state.replace("xx\"}", &format!("{}\"}}", "y".repeat(16_000)));
    let grown = site.beat(Heartbeat { state: Some(json(&larger)), ..beat("c1", 2, 1) }).await;
    assert!(matches!(grown, rollcall_presence_state::store::Beat::Full), "{grown:?}");
    let smaller = site.beat(Heartbeat { state: Some(json("{}")), ..beat("c1", 3, 1) }).await;
    assert!(matches!(smaller, rollcall_presence_state::store::Beat::Taken { changed: true, .. }), "{smaller:?}");
    assert!(matches!(site.join(join_large(admitted)).await.result, JoinResult::Member { .. }), "there is room again");
}

#[tokio::test]
async fn infos_count_as_much_as_states() {
    let site = Site::open().await;
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000));
    let bytes = async || -> u64 {
        let head: String = site.redis().hget(&site.keys()[0], "head").await.unwrap();
        head.split(' ').nth(3).unwrap().parse().unwrap()
    };
    site.join(join("c1", "ann", 1)).await;
    let before = bytes().await;
    site.join(Join { info: info(&text), ..join("c1", "ann", 2) }).await;
    assert_eq!(bytes().await, before + text.len() as u64);
    site.beat(Heartbeat { info: info(&text), state: Some(json(&text)), ..beat("c1", 3, 2) }).await;
    assert_eq!(bytes().await, before + 2 * text.len() as u64 - 2);
    site.join(join("c1", "ann", 4)).await;
    assert_eq!(bytes().await, before);
}

#[tokio::test]
async fn a_room_has_no_more_members_than_it_may() {
    let site = Site::open().await;
    site.join(join("first", "ann", 1)).await;
    // As if so many had joined.
    let record = |n: usize| (format!("c{n}"), "7\n1\n0000000a\nbob\n\n{}");
    let others: Vec<_> = (2..MAX_ROOM_MEMBERS).map(record).collect();
    for some in others.chunks(1_000) {
        let () = site.redis().hset(&site.keys()[1], some.to_vec()).await.unwrap();
    }
    let both = site.join_together(&[join("last", "cyd", 1), join("one more", "dee", 1)]).await;
    let results: Vec<_> = both.joins.iter().map(|one| one.result == JoinResult::Full).collect();
    assert_eq!(results, [false, true]);
    assert!(matches!(site.join(join("first", "ann", 2)).await.result, JoinResult::Member { .. }), "who is there may");
    site.leave("last", 2).await;
    assert!(matches!(site.join(join("one more", "dee", 2)).await.result, JoinResult::Member { .. }));
}

#[tokio::test]
async fn locks_are_held_and_let_go_and_none_is_taken() {
    let site = Site::open().await;
    let fence = held(&site.acquire("l", "a", 1, 0).await).fence;
    site.acquire("l", "b", 1, 5_000).await;
    site.acquire("m", "b", 2, 0).await;
    site.acquire("n", "c", 1, 0).await;
    site.outlive("n").await;
    site.fill(true).await;
    let acquire = Acquire {
        lock: site.lock("new"),
        user: "ann".into(),
        conn: "a".into(),
        gateway: GATEWAY.into(),
        op: 2,
        ttl_ms: 10_000,
        wait_ms: 0,
    };
    assert_eq!(site.store.acquire(site.caller(), &acquire).await.unwrap_err().code, Code::Overloaded);
    assert!(matches!(site.renew("l", "a", fence).await, Locked::Held(_)));
    assert!(matches!(site.release("l", "a", 3, fence).await, Locked::Done));
    assert!(matches!(site.withdraw("l", "b", 1, true).await, Locked::Held(_)), "b has it now");
    site.drop_locks("b", 3).await;
    site.expire_locks().await;
    assert!(site.locks().await.is_empty());
}

/// A connection whose first join was never answered joins as someone else.
#[tokio::test]
async fn who_finds_no_space_under_another_name_keeps_the_old_record() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let [room, _] = site.keys();
    let head: String = site.redis().hget(&room, "head").await.unwrap();
    let mut parts: Vec<_> = head.split(' ').map(str::to_owned).collect();
    parts[3] = MAX_ROOM_BYTES.to_string();
    let () = site.redis().hset(&room, ("head", parts.join(" "))).await.unwrap();
    let mut events = site.listen().await;
    let larger = Join { state: json(r#"{"larger":true}"#), ..join("c1", "bob", 2) };
    assert_eq!(site.join(larger).await.result, JoinResult::Full);
    assert!(events.so_far().await.is_empty());
    assert_eq!(site.snapshot().await.members[0].user.as_str(), "ann");
}

#[tokio::test]
async fn a_channel_grows_no_larger_than_it_may() {
    let site = Site::open().await;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    site.write("T", &Act::Set(change("c1", 1, vec![item("k", Some(&text(1_000)), None)]))).await;
    let update = |op, bytes| Act::Update(change("c1", op, vec![item("k", Some(&text(bytes)), None)]));
    let refused = site.write("T", &update(2, MAX_CHANNEL_BYTES)).await;
    assert!(matches!(refused, Written::Rejected(Rejection::TooLarge)), "{refused:?}");
    assert_eq!(items(&site.record("T").await), [("k", text(1_000).as_str(), 1)]);
    assert!(matches!(site.write("T", &update(3, MAX_CHANNEL_BYTES - 10)).await, Written::Done(_)));
}

#[tokio::test]
async fn a_name_has_no_more_types_than_it_may() {
    let site = Site::open().await;
    let set = |op| Act::Set(change("c1", op, vec![item("k", Some("1"), None)]));
    for n in 0..64 {
        assert!(matches!(site.write(&format!("T{n}"), &set(n + 1)).await, Written::Done(_)), "{n}");
    }
    let refused = site.write("one more", &set(65)).await;
    assert!(matches!(refused, Written::Rejected(Rejection::TooManyTypes)), "{refused:?}");
    assert!(matches!(site.write("T7", &set(66)).await, Written::Done(_)));
}

/// `maxmemory` so that Redis has used this share of it.
async fn fill_to(site: &Site, percent: u64) {
    let info: String = site.redis().custom(fred::cmd!("INFO"), vec!["memory"]).await.unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim();
    let most = used.parse::<u64>().unwrap() * 100 / percent;
    let () = site
        .redis()
        .custom(fred::cmd!("CONFIG"), vec!["SET".to_owned(), "maxmemory".into(), most.to_string()])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_nearly_full_redis_takes_no_more_metadata_and_everything_of_presence() {
    let site = Site::open().await;
    site.join(join("c1", "ann", 1)).await;
    let set = |op, value| Act::Set(change("c1", op, vec![item("k", Some(value), None)]));
    site.write("T", &set(1, "[1,2,3]")).await;
    fill_to(&site, 90).await;
    let mut events = site.listen().await;
    let grows = Act::Update(change("c1", 3, vec![item("k", Some("[1,2,3,4]"), None)]));
    for (kind, act) in
        [("new", set(2, "1")), ("empty", Act::Set(change("c1", 2, vec![]))), ("T", set(2, "[1,2,3,4]")), ("T", grows)]
    {
        let asked = Metadata { channel: channel(&site, kind), act };
        let fault = site.store.write_metadata(site.caller(), &asked).await.unwrap_err();
        assert_eq!(fault.code, Code::Overloaded);
        assert!(fault.message.contains("nearly full"), "{fault}");
    }
    assert!(events.texts().await.is_empty(), "nothing was published");
    assert_eq!(items(&site.record("T").await), [("k", "[1,2,3]", 1)]);

    assert!(matches!(site.write("T", &set(4, "[1]")).await, Written::Done(_)), "a channel may shrink");
    let update = Act::Update(change("c1", 5, vec![item("k", Some("[2]"), None)]));
    assert!(matches!(site.write("T", &update).await, Written::Done(_)), "and change");
    site.write("T", &Act::Remove(change("c1", 6, vec![item("k", None, None)]))).await;
    assert!(matches!(site.join(join("c2", "bob", 1)).await.result, JoinResult::Member { .. }));
    let patch = Heartbeat { state: Some(json(r#"{"n":1}"#)), ..beat("c1", 7, 1) };
    assert!(matches!(site.beat(patch).await, rollcall_presence_state::store::Beat::Taken { changed: true, .. }));
    assert!(matches!(site.acquire("l", "c1", 8, 0).await, Locked::Held(_)));
    assert_eq!(site.leave("c2", 2).await, Some(1));

    fill_to(&site, 70).await;
    assert!(matches!(site.write("new", &set(9, "1")).await, Written::Done(_)), "there is space again");
}
